//! How evidence is gathered: what it costs, what it costs nobody else, and who looks again when something changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use sessionwarden::{
    effects::{Question, SharedMemory, gather},
    local::LocalOrganization,
};
use sessionwarden_machine::{
    compliance::EvidenceKind,
    ids::{AccountId, Now, SessionKey},
    posture::{self, CallError},
    session::Session,
    settings::Settings,
};
use sessionwarden_store::Memory;
use sessionwarden_world::{Change, LogFate, NodeKind, OrganisationShape, StartSession, World, estate::profile_of};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{
    hands::{Fate, Hands, Port},
    stage::{START, SWEEP_MS, Stage, ids, settings},
};

const TICK_MS: i64 = 100;
/// The log archive, and the first two ordinary accounts.
pub(crate) const ARCHIVE: usize = 1;
pub(crate) const ONE: usize = 2;
pub(crate) const OTHER: usize = 3;
/// How long one question may take by default.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);
/// No wake may last longer, whatever hangs: questions that rest on the answer to others follow one another.
const WAKE_MAX: Duration = LIMIT.saturating_mul(4);

/// An organisation of one region in which only the test makes things happen.
pub(crate) struct Scene {
    pub(crate) stage: Stage<Memory, Hands>,
    pub(crate) hands: Hands,
    pub(crate) at_ms: i64,
    _folder: TempDir,
}

/// Two ordinary accounts. Nodes 0 and 3 have the same role, 1 and 2 each another, 4 is a hybrid node, and 5 has the role of
/// Default Host Management.
pub(crate) fn two_accounts() -> World {
    let shape =
        OrganisationShape { accounts: 2, regions: vec![Arc::from("eu-central-1")], ..OrganisationShape::quick() };
    World::new(shape, 5, START)
}

/// All is answered.
fn all(_: Port, _: Option<AccountId>, _: i64) -> Fate {
    Fate::Answered
}

/// Nobody looks again without a reason.
fn no_polling(settings: &mut Settings) {
    settings.recheck_ms = 3_600_000;
}

impl Scene {
    pub(crate) fn new(
        world: World,
        script: impl Fn(Port, Option<AccountId>, i64) -> Fate + Send + Sync + 'static,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let organization = LocalOrganization::new(world);
        let mut settings = settings(&organization);
        change(&mut settings);
        let (folder, hands) = (tempfile::tempdir().unwrap(), Hands::new(organization, script));
        let stage = Stage::new(folder.path(), Memory::new(), Some(hands.clone()), settings);
        Self { stage, hands, at_ms: 0, _folder: folder }
    }

    pub(crate) fn now(&self) -> Now {
        START.plus_ms(self.at_ms)
    }

    pub(crate) fn world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        self.hands.inner.with(look)
    }

    /// Somebody of an account opens a session on one of its nodes.
    pub(crate) fn open(&self, account: usize, node: usize) -> SessionKey {
        self.open_with(account, node, |_| {})
    }

    pub(crate) fn open_with(&self, account: usize, node: usize, change: impl FnOnce(&mut StartSession)) -> SessionKey {
        self.world(|world| {
            let account = world.accounts()[account].clone();
            let node = &account.nodes[node];
            let (region, target) = (Arc::clone(&node.region), Arc::clone(&node.id));
            let mut request = StartSession { region, target, ..StartSession::default() };
            change(&mut request);
            world.start_session(&account.users[0], &request).unwrap()
        })
    }

    /// The administrator of an account changes something.
    pub(crate) fn change(&self, account: usize, change: &Change) {
        self.world(|world| {
            let (admin, region) = (Arc::clone(&world.accounts()[account].admin), Arc::clone(&world.regions()[0]));
            world.change(&admin, &region, change).unwrap();
        });
    }

    /// Events arrive, and what is due is looked at. Returns how long that took.
    pub(crate) async fn wake(&mut self) -> Duration {
        let (now, begun) = (self.now(), Instant::now());
        self.hands.clock.store(self.at_ms, Ordering::Relaxed);
        let events = self.world(|world| {
            world.advance_to(now);
            world.drain_events()
        });
        self.stage.deliver(&events, now).await.unwrap();
        self.stage.handler.recheck(now).await.unwrap();
        assert!(begun.elapsed() <= WAKE_MAX, "{:?}", begun.elapsed());
        begun.elapsed()
    }

    pub(crate) async fn pass(&mut self, ms: i64) {
        let until_ms = self.at_ms + ms;
        while self.at_ms < until_ms {
            if self.at_ms % SWEEP_MS == 0 {
                self.stage.handler.sweep(self.now()).await.unwrap();
            }
            self.wake().await;
            self.at_ms += TICK_MS;
        }
    }

    pub(crate) async fn session(&self, key: &SessionKey) -> Session {
        self.stage.sessions().await.into_iter().find(|session| session.key == *key).expect("a session")
    }

    /// Whether the role may write the log, as last told, and when that was.
    pub(crate) async fn writable(&self, key: &SessionKey) -> Option<(i64, bool)> {
        let session = self.session(key).await;
        let (at, answer) = session.seen?.evidence.get(&EvidenceKind::LogWritable)?.last?;
        Some((at.0 - START.0, answer))
    }

    /// The sessions whose life was asked about since questions were last taken, in order.
    fn described(&self) -> Vec<String> {
        let asked = self.hands.take_asked().into_iter().filter(|question| question.port == Port::Describe);
        asked.flat_map(|question| question.about.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
    }
}

// R-W7: questions follow the accounts and roles, not the sessions. Only the stream is each session's own.
#[tokio::test(start_paused = true)]
async fn ten_thousand_sessions_of_one_role_cost_one_round_of_questions() {
    const SESSIONS: usize = 10_000;
    let regions = vec![Arc::from("eu-central-1")];
    let shape = OrganisationShape { accounts: 1, nodes_per_account: 20, regions, ..OrganisationShape::quick() };
    let mut scene = Scene::new(World::new(shape, 5, START), all, |_| {});
    let nodes: Vec<usize> = scene.world(|world| {
        let nodes = world.accounts()[ONE].nodes.iter().enumerate();
        let of_role = nodes.filter(|(_, node)| &*node.role == "web-node-role" && node.kind == NodeKind::Instance);
        of_role.map(|(at, _)| at).collect()
    });
    assert!(nodes.len() > 3);
    let keys: Vec<SessionKey> = (0..SESSIONS).map(|at| scene.open(ONE, nodes[at % nodes.len()])).collect();
    scene.wake().await;
    let once = [
        (Port::Describe, 1),
        (Port::Nodes, 1),
        (Port::Network, 1),
        // The role behind the nodes, and that of the caller.
        (Port::Identity, 2),
        // Those of the account, and those of the log archive.
        (Port::Guards, 2),
        // The preferences.
        (Port::Document, 1),
        (Port::Bucket, 1),
        // The bucket's, and that of the sessions' traffic.
        (Port::Key, 2),
        (Port::Stream, SESSIONS),
    ];
    assert_eq!(scene.hands.asked(), BTreeMap::from(once));
    let sessions = scene.stage.sessions().await;
    let writable = sessions.iter().filter(|session| {
        let told = session.seen.as_ref().and_then(|seen| seen.evidence.get(&EvidenceKind::LogWritable));
        told.and_then(|known| known.last).is_some_and(|(at, answer)| at == START.as_event_time() && answer)
    });
    assert_eq!(writable.count(), SESSIONS);

    let questions = keys.into_iter().map(|key| (key, Question::Life)).collect();
    let (settings, memory) = (settings(&scene.hands.inner), SharedMemory::default());
    let wanted = [EvidenceKind::LogWritable];
    let gathered = gather(&scene.hands, &settings, &wanted, &memory, &questions, START).await;
    assert_eq!(gathered.len(), SESSIONS);
    let memory = memory.lock();
    assert_eq!((memory.checks(), memory.remembered()), (1, SESSIONS as u64 - 1));
    drop(memory);
    scene.stage.assert_sound();
}

// R-W7: of sessions of which only news are wanted not even the streams are asked for, as long as all else is as it was.
#[tokio::test(start_paused = true)]
async fn sessions_of_which_nothing_is_new_cost_no_question_of_their_own() {
    const SESSIONS: usize = 20;
    let scene = Scene::new(two_accounts(), all, |_| {});
    let keys: Vec<SessionKey> = (0..SESSIONS).map(|at| scene.open(ONE, [0, 3][at % 2])).collect();
    let (mut settings, memory) = (settings(&scene.hands.inner), SharedMemory::default());
    settings.posture.preferences.streaming = Some(true);
    let wanted: Vec<EvidenceKind> = EvidenceKind::ALL.to_vec();
    let gathered = async |after_ms: i64, questions: BTreeMap<SessionKey, Question>| {
        let now = START.plus_ms(after_ms);
        scene.world(|world| world.advance_to(now));
        let found = gather(&scene.hands, &settings, &wanted, &memory, &questions, now).await;
        (found, scene.hands.take_asked().iter().filter(|asked| asked.port == Port::Stream).count())
    };
    let all_of = |question: &dyn Fn(&SessionKey) -> Question| -> BTreeMap<SessionKey, Question> {
        keys.iter().map(|key| (key.clone(), question(key))).collect()
    };
    let (found, streams) = gathered(10_000, all_of(&|_| Question::Life)).await;
    assert_eq!((found.len(), streams), (SESSIONS, SESSIONS));
    let looks: BTreeMap<SessionKey, u64> = found.into_iter().map(|it| (it.key, it.look.expect("a number"))).collect();
    let of = |unsettled| all_of(&|key| Question::News { look: looks[key], unsettled });
    assert_eq!(gathered(25_000, of(false)).await, (Vec::new(), 0));
    // One of them may have gone.
    assert_eq!(gathered(40_000, of(true)).await, (Vec::new(), SESSIONS));
    // Who is not as the process knows it is asked for.
    let (found, streams) =
        gathered(55_000, all_of(&|key| Question::News { look: looks[key] + 100, unsettled: false })).await;
    assert_eq!((found.len(), streams), (SESSIONS, SESSIONS));
    let group = Arc::from(sessionwarden_world::texts::LOG_GROUP);
    scene.change(ONE, &Change::DeleteLogGroup { group });
    let (found, streams) = gathered(70_000, of(true)).await;
    assert_eq!((found.len(), streams), (SESSIONS, SESSIONS));
}

/// A change that spoils nothing: what is changed, who does it, and the nodes of the first and second account whose
/// sessions rest on it.
type Disturbance = (&'static str, usize, Change, &'static [usize], &'static [usize]);

fn changes(scene: &Scene) -> Vec<Disturbance> {
    const ALL: &[usize] = &[0, 1, 2, 3, 5];
    let role = |name: &str| -> Arc<str> { name.into() };
    let harmless: Arc<str> =
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:ListBucket","Resource":"*"}]}"#.into();
    scene.world(|world| {
        let account = world.accounts()[ONE].clone();
        let (region, id) = (Arc::clone(&world.regions()[0]), account.id);
        let bucket = world.bucket(&Arc::clone(world.bucket_name())).unwrap();
        let own = world.key(id, &region, sessionwarden_world::texts::SESSION_KEY).unwrap();
        let shared = world.key(bucket.account, &region, bucket.key.as_ref().unwrap()).unwrap();
        let of_key = |key: posture::Key| Change::PutKeyPolicy { key: key.arn, text: key.policy.text };
        let node = |at: usize| Arc::clone(&account.nodes[at].id);
        let log_policy = sessionwarden_world::estate::customer_policy(id, sessionwarden_world::texts::LOG_POLICY);
        let put = |name: &str| {
            let (role, name, text) = (role(name), "extra".into(), Arc::clone(&harmless));
            Change::PutRolePolicy { role, name, text }
        };
        let all: [Disturbance; 10] = [
            ("a role", ONE, put("web-node-role"), &[0, 3], &[]),
            ("a role that nobody rests on", ONE, put("open-role"), &[], &[]),
            ("a managed policy", ONE, Change::SetDefaultPolicyVersion { policy: log_policy, version: 2 }, ALL, &[]),
            ("the key of the traffic", ONE, of_key(own), ALL, &[]),
            ("the bucket's key", ARCHIVE, of_key(shared), ALL, &[0]),
            ("the bucket", ARCHIVE, Change::PutBucketPolicy { text: bucket.policy.unwrap().text }, ALL, &[0]),
            ("the preferences", ONE, Change::set_preferences(Some(1)), ALL, &[]),
            (
                "a node's profile",
                ONE,
                Change::ReplaceProfile { node: node(1), profile: profile_of("web-node-role") },
                &[1],
                &[],
            ),
            (
                "a profile's role",
                ONE,
                Change::AddRoleToProfile { profile: profile_of("data-node-role"), role: role("data-node-role") },
                &[2],
                &[],
            ),
            ("Default Host Management", ONE, Change::SetHostManagement { role: role("web-node-role") }, &[5], &[]),
        ];
        all.into()
    })
}

// R-W17: a change makes exactly the sessions that rest on it due, at once and again when it bites. Nobody else is asked about.
#[tokio::test(start_paused = true)]
async fn a_change_is_answered_by_the_sessions_that_rest_on_it() {
    let mut scene = Scene::new(two_accounts(), all, no_polling);
    let one: BTreeMap<usize, SessionKey> =
        [0, 1, 2, 3, 5].into_iter().map(|node| (node, scene.open(ONE, node))).collect();
    let other = BTreeMap::from([(0, scene.open(OTHER, 0))]);
    scene.pass(1_000).await;
    assert_eq!(scene.described().len(), 6, "each is looked at once");
    for (what, account, change, ones, others) in changes(&scene) {
        let named = |keys: &BTreeMap<usize, SessionKey>, nodes: &[usize]| -> Vec<String> {
            nodes.iter().map(|node| keys[node].to_string()).collect()
        };
        let mut expected = named(&one, ones);
        expected.extend(named(&other, others));
        let expected: BTreeSet<String> = expected.into_iter().collect();
        scene.change(account, &change);
        scene.pass(2 * TICK_MS).await;
        let first = scene.described();
        assert_eq!((first.len(), first.into_iter().collect()), (expected.len(), expected.clone()), "{what}: at once");
        scene.pass(200).await;
        assert_eq!(scene.described(), Vec::<String>::new(), "{what}: too early");
        scene.pass(300).await;
        let again = scene.described();
        assert_eq!((again.len(), again.into_iter().collect()), (expected.len(), expected), "{what}: when it bites");
        scene.pass(3_000).await;
        assert_eq!(scene.described(), Vec::<String>::new(), "{what}: enough");
    }
    for key in one.values().chain(other.values()) {
        assert_eq!((scene.session(key).await.ended_at(), scene.writable(key).await.unwrap().1), (None, true), "{key}");
    }
    scene.stage.assert_sound();
}

/// Two sessions of one account that somebody leaves, each closed with its log.
async fn closed(scene: &mut Scene) -> [SessionKey; 2] {
    let keys = [scene.open(ONE, 0), scene.open(ONE, 3)];
    scene.pass(1_000).await;
    scene.world(|world| keys.each_ref().map(|key| world.exit_session(key)));
    scene.pass(10_000).await;
    let outcomes = scene.stage.outcomes();
    assert!(keys.iter().all(|key| outcomes[&key.to_string()] == "compliant"), "{outcomes:?}");
    scene.hands.take_asked();
    keys
}

fn log_of(scene: &Scene, key: &SessionKey) -> Arc<str> {
    scene.world(|world| world.session_log(key)).expect("a log").0
}

// TH24: whoever writes over a log makes its session look again, long after it was closed.
#[tokio::test(start_paused = true)]
async fn a_log_that_is_overwritten_is_suspect() {
    let mut scene = Scene::new(two_accounts(), all, |_| {});
    // The service knows its regions from the organisation.
    scene.stage.handler.reconcile(scene.now()).await.unwrap();
    let [key, beside] = closed(&mut scene).await;
    let log = log_of(&scene, &key);
    scene.change(ARCHIVE, &Change::OverwriteLog { key: Arc::clone(&log) });
    scene.pass(500).await;
    let asked = scene.hands.take_asked();
    let objects: Vec<_> = asked.iter().filter(|one| one.port == Port::Object).map(|one| &*one.about).collect();
    assert_eq!(objects, [&*log], "nobody else's log is looked at");
    let feed = scene.stage.feed();
    let suspect = ids(&feed, "incident/log-suspect");
    assert_eq!(suspect, BTreeSet::from([format!("incident/log-suspect/{key}")]));
    let incident = feed[suspect.first().unwrap()].to_string();
    assert!(incident.contains("was written more than once"), "{incident}");
    scene.pass(5_000).await;
    assert_eq!(scene.hands.asked().get(&Port::Object), None, "once is enough");
    assert!(!scene.session(&beside).await.seen.unwrap().log.unwrap().place.is_empty());
    scene.stage.assert_sound();
}

// TH24: a log that is deleted, after its session was closed with it, or before anybody saw it.
#[tokio::test(start_paused = true)]
async fn a_log_that_is_deleted_is_an_incident() {
    let mut scene = Scene::new(two_accounts(), all, |_| {});
    scene.stage.handler.reconcile(scene.now()).await.unwrap();
    let [key, _] = closed(&mut scene).await;
    let log = log_of(&scene, &key);
    scene.change(ARCHIVE, &Change::DeleteLog { key: Arc::clone(&log) });
    scene.pass(500).await;
    assert!(scene.hands.take_asked().iter().any(|one| one.port == Port::Object && one.about == *log));
    let feed = scene.stage.feed();
    let incidents = ids(&feed, "incident/SW-OBJ-01");
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    let incident = feed[incidents.first().unwrap()].to_string();
    assert!(incident.contains(&*log), "{incident}");

    let early = scene.open_with(ONE, 0, |request| request.log = LogFate::After(0));
    scene.pass(1_000).await;
    scene.world(|world| world.exit_session(&early));
    let now = scene.now();
    scene.world(|world| world.advance_to(now));
    scene.change(ARCHIVE, &Change::DeleteLog { key: log_of(&scene, &early) });
    scene.pass(20_000).await;
    assert!(scene.stage.feed().contains_key(&format!("incident/log-missing/{early}")));
    assert_eq!(scene.stage.outcomes()[&early.to_string()], "log-missing");
    scene.stage.assert_sound();
}

// R-W20: looks become rarer, and do not stop at the deadline. A log that comes after it resolves the incident.
#[tokio::test(start_paused = true)]
async fn a_late_log_resolves_its_incident() {
    let mut scene = Scene::new(two_accounts(), all, |_| {});
    let key = scene.open_with(ONE, 0, |request| request.log = LogFate::After(20_000));
    scene.pass(1_000).await;
    scene.world(|world| world.exit_session(&key));
    let (missing, resolved) = (format!("incident/log-missing/{key}"), format!("incident/log-missing/{key}#resolved"));
    scene.pass(15_000).await;
    let feed = scene.stage.feed();
    assert!(feed.contains_key(&missing) && !feed.contains_key(&resolved));
    scene.pass(20_000).await;
    let feed = scene.stage.feed();
    let record = &feed[&resolved];
    assert_eq!(record["class_uid"], feed[&missing]["class_uid"]);
    assert!(record.to_string().contains("arrived late"), "{record}");
    let ended = scene.session(&key).await.ended_at().unwrap().0 - START.0;
    let asked = scene.hands.take_asked().into_iter().filter(|question| question.port == Port::Object);
    let looks: BTreeSet<i64> = asked.map(|question| (question.at_ms - ended) / 1_000).collect();
    assert_eq!(looks.into_iter().collect::<Vec<_>>(), [2, 4, 8, 12, 16, 32], "seconds after the end");
    scene.stage.assert_sound();
}

// R-W20, I11: while AWS does not confirm the end of a session that was to be ended, its log is looked for all the same.
#[tokio::test(start_paused = true)]
async fn a_late_log_is_found_although_nobody_confirms_the_end() {
    let script = |port, _, at_ms| match port {
        Port::Terminate => Fate::Fails(CallError::Throttled),
        Port::Describe if at_ms >= 1_000 => Fate::Fails(CallError::Throttled),
        _ => Fate::Answered,
    };
    let mut scene = Scene::new(two_accounts(), script, |_| {});
    let text = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"s3:PutObject","Resource":"*"}]}"#;
    let (role, name): (Arc<str>, Arc<str>) = ("web-node-role".into(), "no-logs".into());
    scene.change(ONE, &Change::PutRolePolicy { role: Arc::clone(&role), name: Arc::clone(&name), text: text.into() });
    let key = scene.open_with(ONE, 0, |request| request.log = LogFate::After(20_000));
    scene.pass(2_000).await;
    assert!(scene.session(&key).await.is_violating());
    scene.world(|world| {
        let admin = Arc::clone(&world.accounts()[ONE].admin);
        world.terminate_session(&admin, &key).unwrap();
    });
    scene.change(ONE, &Change::DeleteRolePolicy { role, name });
    scene.pass(16_000).await;
    let (missing, resolved) = (format!("incident/log-missing/{key}"), format!("incident/log-missing/{key}#resolved"));
    let feed = scene.stage.feed();
    assert!(feed.contains_key(&missing) && !feed.contains_key(&resolved), "{:?}", feed.keys());
    scene.pass(30_000).await;
    assert!(scene.stage.feed().contains_key(&resolved), "{:?}", scene.stage.feed().keys());
    assert!(!scene.session(&key).await.end_confirmed());
    scene.stage.assert_sound();
}

// R-W4, I13: an account that does not answer keeps nobody from adopting the others' sessions.
#[tokio::test(start_paused = true)]
async fn reconciling_waits_for_nobody_long() {
    let world = two_accounts();
    let silent = world.accounts()[ONE].id;
    let script = move |port, account, at_ms| match port {
        Port::Active if account == Some(silent) && at_ms < 60_000 => Fate::Hangs,
        _ => Fate::Answered,
    };
    let mut scene = Scene::new(world, script, |_| {});
    let (hidden, missed) = (scene.open(ONE, 0), [scene.open(OTHER, 0), scene.open(OTHER, 1)]);
    scene.world(World::drain_events);
    scene.at_ms = 30_000;
    scene.hands.clock.store(scene.at_ms, Ordering::Relaxed);
    let begun = Instant::now();
    let adopted = scene.stage.handler.reconcile(scene.now()).await.unwrap();
    assert_eq!((adopted, begun.elapsed()), (2, LIMIT));
    let known: BTreeSet<SessionKey> = scene.stage.sessions().await.into_iter().map(|session| session.key).collect();
    assert_eq!(known, BTreeSet::from(missed.clone()));
    for key in &missed {
        assert_eq!(scene.writable(key).await, Some((30_000, true)), "its evidence was gathered at once");
    }
    scene.at_ms = 60_000;
    scene.hands.clock.store(scene.at_ms, Ordering::Relaxed);
    assert_eq!(scene.stage.handler.reconcile(scene.now()).await.unwrap(), 1);
    assert_eq!(scene.session(&hidden).await.ended_at(), None);
    scene.stage.assert_sound();
}
