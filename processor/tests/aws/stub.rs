//! The model of an organisation behind the endpoints of Systems Manager's session and node calls, and of STS.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use sessionwarden_machine::ids::{AccountId, SessionKey};
use sessionwarden_world::{SessionDescription, SessionStatus, World};
use tokio::task::JoinHandle;

/// What one call answers instead of the truth.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// An error with this status and code.
    Code(u16, &'static str),
    /// Nothing, for longer than anybody waits.
    Silence,
    /// A success that says nothing.
    Nonsense,
    /// A success of so many bytes.
    Long(usize),
}

#[derive(Default)]
struct Told {
    calls: BTreeMap<String, u32>,
    /// What each action answers next, by its name.
    faults: BTreeMap<&'static str, VecDeque<Fault>>,
}

struct Inner {
    world: Arc<Mutex<World>>,
    told: Mutex<Told>,
    own: AccountId,
    /// How many sessions a page has at the most.
    page: usize,
    /// How long assumed credentials live.
    lifetime: Duration,
    /// What `DescribeInstanceInformation` knows.
    agents: Vec<Value>,
    host_management: Option<&'static str>,
}

/// How a stub is made.
pub(crate) struct Shape {
    pub(crate) own: AccountId,
    pub(crate) page: usize,
    pub(crate) lifetime: Duration,
    pub(crate) agents: Vec<Value>,
    pub(crate) host_management: Option<&'static str>,
}

/// The server; it ends with this value.
pub(crate) struct Stub {
    inner: Arc<Inner>,
    serving: JoinHandle<()>,
    pub(crate) url: String,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Stub {
    pub(crate) async fn start(world: &Arc<Mutex<World>>, shape: Shape) -> Self {
        let Shape { own, page, lifetime, agents, host_management } = shape;
        let told = Mutex::default();
        let world = Arc::clone(world);
        let inner = Arc::new(Inner { world, told, own, page, lifetime, agents, host_management });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(answer).with_state(Arc::clone(&inner));
        let serving = tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
        Self { inner, serving, url }
    }

    /// How often an action was called.
    pub(crate) fn calls(&self, action: &str) -> u32 {
        self.inner.told.lock().unwrap().calls.get(action).copied().unwrap_or(0)
    }

    /// The next calls of this action answer like that, one after the other.
    pub(crate) fn fail(&self, action: &'static str, faults: &[Fault]) {
        self.inner.told.lock().unwrap().faults.entry(action).or_default().extend(faults);
    }
}

async fn answer(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").map(|target| target.to_str().unwrap().to_owned());
    let form = String::from_utf8_lossy(&body).into_owned();
    let of_form = |name: &str| {
        let pair = form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        pair.unwrap_or_default().replace("%3A", ":").replace("%2F", "/")
    };
    let action = match &target {
        Some(target) => target.split_once('.').expect("a service and an operation").1.to_owned(),
        None => of_form("Action"),
    };
    let (number, fault) = {
        let mut told = inner.told.lock().unwrap();
        let number = told.calls.entry(action.clone()).or_default();
        *number += 1;
        (*number, told.faults.get_mut(action.as_str()).and_then(VecDeque::pop_front))
    };
    match fault {
        Some(Fault::Silence) => tokio::time::sleep(Duration::from_mins(10)).await,
        Some(Fault::Nonsense) => return (StatusCode::OK, "{}").into_response(),
        Some(Fault::Long(bytes)) => return (StatusCode::OK, " ".repeat(bytes)).into_response(),
        Some(Fault::Code(status, code)) => return failure(target.as_deref(), &action, status, code),
        None => {}
    }
    if target.is_none() && action != "DescribeVpcEndpoints" {
        return inner.sts(&action, &of_form("RoleArn"), &of_form("ExternalId"), number);
    }
    let (account, region) = signer(&headers);
    if action == "DescribeVpcEndpoints" {
        let item = "<item><vpcEndpointId>vpce-1</vpcEndpointId><vpcEndpointType>Gateway</vpcEndpointType>\
                    <serviceName>com.amazonaws.eu-west-1.s3</serviceName><state>available</state></item>";
        let next = if form.contains("NextToken=") { "" } else { "a%2Fb" };
        return format!("<R><vpcEndpointSet>{item}</vpcEndpointSet><nextToken>{next}</nextToken></R>").into_response();
    }
    let account = account.unwrap_or(inner.own);
    let input: Value = serde_json::from_slice(&body).unwrap();
    inner.ssm(&action, account, &region, &input).unwrap_or_else(|code| failure(target.as_deref(), &action, 400, code))
}

/// The account and region that a request is signed for: the digits of the keys made here name the account.
fn signer(headers: &HeaderMap) -> (Option<AccountId>, String) {
    let signature = headers["authorization"].to_str().unwrap();
    let scope = signature.split_once("Credential=").unwrap().1;
    let mut parts = scope.split('/');
    let key = parts.next().unwrap();
    (key.get(4..16).and_then(|digits| digits.parse().ok()), parts.nth(1).unwrap().to_owned())
}

/// An error in the protocol of the call: JSON, STS's XML, or EC2's.
fn failure(target: Option<&str>, action: &str, status: u16, code: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    let error = format!("<Error><Code>{code}</Code><Message>a test</Message></Error>");
    let body = match (target, action) {
        (Some(_), _) => json!({ "__type": format!("com.amazonaws#{code}"), "message": "a test" }).to_string(),
        (None, "AssumeRole") => format!("<ErrorResponse>{error}</ErrorResponse>"),
        (None, _) => format!("<Response><Errors>{error}</Errors><RequestID>r</RequestID></Response>"),
    };
    (status, body).into_response()
}

impl Inner {
    fn sts(&self, action: &str, role: &str, external_id: &str, number: u32) -> Response {
        if action == "GetCallerIdentity" {
            return format!(
                "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>{}</Account></GetCallerIdentityResult>\
                 </GetCallerIdentityResponse>",
                self.own
            )
            .into_response();
        }
        assert_eq!(external_id, "right");
        let account = role.split(':').nth(4).unwrap();
        let expiry = jiff::Timestamp::now() + self.lifetime;
        format!(
            "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA{account}{number}</AccessKeyId>\
             <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>{expiry}</Expiration>\
             </Credentials></AssumeRoleResult></AssumeRoleResponse>"
        )
        .into_response()
    }

    fn ssm(&self, action: &str, account: AccountId, region: &str, input: &Value) -> Result<Response, &'static str> {
        let answer = match action {
            "DescribeSessions" => self.describe_sessions(account, region, input),
            "TerminateSession" => {
                let id = input["SessionId"].as_str().unwrap();
                let key = SessionKey { account, region: Arc::from(region), id: Arc::from(id) };
                let mut world = self.world.lock().unwrap();
                let warden = Arc::clone(&world.account(account).unwrap().warden);
                world.terminate_session(&warden, &key).map_err(|_| "DoesNotExistException")?;
                json!({ "SessionId": id })
            }
            "DescribeInstanceInformation" => {
                let wanted = input["Filters"][0]["Values"].as_array().unwrap();
                let agents = self.agents.iter().filter(|agent| wanted.contains(&agent["InstanceId"]));
                json!({ "InstanceInformationList": agents.collect::<Vec<_>>() })
            }
            "GetServiceSetting" => {
                json!({ "ServiceSetting": { "SettingValue": self.host_management.ok_or("ServiceSettingNotFound")? } })
            }
            "ListTagsForResource" => json!({ "TagList": [{ "Key": "Name", "Value": input["ResourceId"] }] }),
            other => panic!("{other} is not served"),
        };
        Ok(answer.to_string().into_response())
    }

    /// "DescribeSessions": pages of at most `MaxResults`, the state, and a filter by id.
    fn describe_sessions(&self, account: AccountId, region: &str, input: &Value) -> Value {
        let world = self.world.lock().unwrap();
        let active = input["State"] == "Active";
        let all = if active { world.active_sessions(account, region) } else { ended(&world, account, region) };
        let wanted = input["Filters"][0]["value"].as_str();
        let all: Vec<_> = all.iter().filter(|it| wanted.is_none_or(|id| *it.key.id == *id)).collect();
        let from: usize = input["NextToken"].as_str().map_or(0, |token| token.parse().unwrap());
        let most = usize::try_from(input["MaxResults"].as_u64().unwrap()).unwrap();
        assert!((1..=200).contains(&most));
        let to = all.len().min(from + most.min(self.page));
        let next = (to < all.len()).then(|| to.to_string());
        let page: Vec<Value> = all[from..to].iter().map(|session| shown(session)).collect();
        json!({ "Sessions": page, "NextToken": next })
    }
}

/// The model has no list of what is over: it is asked for each id that was ever given out.
fn ended(world: &World, account: AccountId, region: &str) -> Vec<SessionDescription> {
    let keys = super::sessions::OPENED.lock().unwrap().clone();
    let here = keys.iter().filter(|key| key.account == account && *key.region == *region);
    here.filter_map(|key| world.describe_session(key)).filter(|it| it.ended.is_some()).collect()
}

fn shown(session: &SessionDescription) -> Value {
    let seconds = |ms: i64| ms as f64 / 1_000.0;
    let status = match session.status {
        SessionStatus::Connected => "Connected",
        SessionStatus::Disconnected => "Disconnected",
        SessionStatus::Terminated => "Terminated",
    };
    json!({
        "SessionId": session.key.id,
        "Target": session.target,
        "Status": status,
        "StartDate": seconds(session.started.0),
        "EndDate": session.ended.map(|at| seconds(at.0)),
        "DocumentName": session.document,
        "Owner": session.owner,
        "Reason": session.reason,
        "AccessType": if session.just_in_time { "JustInTime" } else { "Standard" },
    })
}
