//! What people ask of the service and tell it: which accounts are locked, which incidents are open, and what becomes of
//! them.
//!
//! On one machine the running service answers over a socket in its data folder; on the services of AWS the state is
//! shared, and whoever may write it answers for itself. Either way the same function does.

#[cfg(unix)]
mod socket;

use std::sync::Arc;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sessionwarden_machine::{
    account::{Account, AccountInput, Act, EpisodePhase},
    compliance::Verdicts,
    effect::{Order, Response},
    ids::{Now, Subject},
    incident::{Incident, IncidentInput, IncidentPhase},
    register::Register,
    settings::Settings,
};
use sessionwarden_store::Store;

#[cfg(unix)]
pub use socket::{Asked, ControlError, ControlSocket, ask};

use crate::{
    effects::Reports,
    handle::{Calls, HandleError, Handler, Inbox, News, State},
    metrics::Metrics,
    ports::Hands,
    run::SharedBoard,
};

/// How many keys one query of the store returns at the most.
const PAGE: usize = 1_000;
/// The longest reason that is taken, in characters.
const REASON_CHARS_MAX: usize = 500;

/// A question or an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlRequest {
    /// Accounts whose window was ever full, and the register.
    Accounts,
    /// Incidents.
    Incidents,
    /// An order about an account or an incident.
    Order {
        /// What.
        order: Order,
        /// About what: `account#…` or `incident#…`.
        subject: String,
        /// Why; may be empty where nothing ends by it.
        reason: String,
    },
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlReply {
    /// To [`ControlRequest::Accounts`].
    Accounts(Vec<AccountView>, Box<Register>),
    /// To [`ControlRequest::Incidents`].
    Incidents(Vec<Incident>),
    /// The account as it is now.
    Account(Box<AccountView>),
    /// The incident as it is now.
    Incident(Box<Incident>),
    /// It is not done, for this reason.
    Refused(String),
}

/// An account, with what follows from it by the service's own settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountView {
    /// The account.
    pub account: Account,
    /// Where its latest episode stands.
    pub phase: EpisodePhase,
    /// When the lock ends, while there is one.
    pub until: Option<Now>,
}

impl AccountView {
    /// `None` for an account whose window was never full.
    fn of(account: Account, now: Now, settings: &Settings) -> Option<Self> {
        let episode = account.episode.as_ref()?;
        let phase = episode.phase(now, &settings.quarantine);
        let until = episode.ends_at(&settings.quarantine).filter(|_| episode.holds());
        Some(Self { account, phase, until })
    }
}

/// A handler for one order, on a machine that only writes what was ordered: what follows is done by the workers, who share
/// the state.
pub fn desk<S: Store, H: Hands>(
    store: S,
    settings: Settings,
    verdicts: Verdicts,
    metrics: Metrics,
    board: SharedBoard,
) -> Handler<S, H> {
    let mut handler = Handler::new(store, None, settings, verdicts, Reports::elsewhere(), metrics, board);
    // There is an organisation, though this process does not call it.
    handler.settings.organization = true;
    (handler.calls, handler.organizes) = (Calls::Later, false);
    handler
}

/// Answers a question, or does what is ordered by `who`.
///
/// # Errors
/// Where the store or the audit trail fails; what cannot be done for other reasons is [`ControlReply::Refused`].
pub async fn answer<S: Store, H: Hands>(
    handler: &mut Handler<S, H>,
    request: ControlRequest,
    who: Arc<str>,
    now: Now,
) -> Result<ControlReply, HandleError> {
    match request {
        ControlRequest::Accounts => {
            let accounts: Vec<Account> = all(&handler.store, "account#").await?;
            let view = |account| AccountView::of(account, now, &handler.settings);
            let accounts = accounts.into_iter().filter_map(view).collect();
            let register: Vec<Register> = all(&handler.store, "register#").await?;
            Ok(ControlReply::Accounts(accounts, Box::new(register.into_iter().next().unwrap_or_default())))
        }
        ControlRequest::Incidents => {
            let found: Vec<Option<Incident>> = all(&handler.store, "incident#").await?;
            let looked_at = |it: &Incident| it.response != Response::Report;
            Ok(ControlReply::Incidents(found.into_iter().flatten().filter(looked_at).collect()))
        }
        ControlRequest::Order { order, subject, reason } => {
            let Ok(subject) = subject.parse::<Subject>() else {
                return Ok(ControlReply::Refused(format!("{subject:?} is neither an account nor an incident")));
            };
            let reason: String = reason.chars().take(REASON_CHARS_MAX).filter(|one| !one.is_control()).collect();
            let act = Act { who, reason: reason.into(), at: now };
            let news = match handler.load(&subject).await? {
                None => Err("nothing is known of it".to_owned()),
                Some(state) => news_of(order, &state, act, now, &handler.settings),
            };
            match news {
                Err(why) => return Ok(ControlReply::Refused(why)),
                Ok(news) => handler.handle(Inbox::from([(subject.clone(), vec![news])]), now).await?,
            }
            Ok(match handler.load(&subject).await? {
                Some(State::Account(account)) => match AccountView::of(*account, now, &handler.settings) {
                    Some(view) => ControlReply::Account(Box::new(view)),
                    None => ControlReply::Refused("its window was never full".to_owned()),
                },
                Some(State::Incident(Some(incident))) => ControlReply::Incident(incident),
                _ => ControlReply::Refused("it is gone".to_owned()),
            })
        }
    }
}

/// What an order is to the subject, or why it cannot be.
fn news_of(order: Order, state: &State, act: Act, now: Now, settings: &Settings) -> Result<News, String> {
    match state {
        State::Account(account) => order_account(order, account, act, now, settings).map(News::Account),
        State::Incident(Some(incident)) => order_incident(order, incident, act, now, settings).map(News::Incident),
        State::Session(_) | State::Incident(None) | State::Register(_) | State::Place(_) => {
            Err("only accounts and incidents take orders".to_owned())
        }
    }
}

fn order_account(
    order: Order,
    account: &Account,
    act: Act,
    now: Now,
    settings: &Settings,
) -> Result<AccountInput, String> {
    use EpisodePhase as P;
    let episode = account.episode.as_ref().ok_or("its window was never full")?;
    let phase = episode.phase(now, &settings.quarantine);
    let wrong = |what: &str| Err(format!("it is {}: {what}", phase.as_str()));
    match order {
        Order::Approve => match phase {
            P::Proposed | P::Approved => Ok(AccountInput::Approved(act)),
            _ if episode.holds() && episode.raise.is_some() => Ok(AccountInput::Approved(act)),
            _ => wrong("there is nothing to approve"),
        },
        Order::Deny | Order::Release if act.reason.is_empty() => Err("give a reason".to_owned()),
        Order::Deny => match phase {
            P::Proposed | P::Approved => Ok(AccountInput::Denied(act)),
            _ => wrong("only what waits can be denied; a lock is released"),
        },
        Order::Release => match phase {
            _ if episode.holds() && episode.granted_at.is_some() && episode.release.is_none() => {
                Ok(AccountInput::ReleaseAsked(act))
            }
            P::Releasing => wrong("it is being released already"),
            _ => wrong("there is nothing to release"),
        },
        Order::Acknowledge | Order::Resolve => Err("that is for incidents".to_owned()),
    }
}

fn order_incident(
    order: Order,
    incident: &Incident,
    act: Act,
    now: Now,
    settings: &Settings,
) -> Result<IncidentInput, String> {
    let phase = incident.phase(now, settings);
    match (order, phase) {
        (Order::Acknowledge, IncidentPhase::Open | IncidentPhase::Escalated) => Ok(IncidentInput::Acknowledged(act)),
        (Order::Resolve, IncidentPhase::Resolved) | (Order::Acknowledge, _) => {
            Err(format!("it is {} already", phase.as_str()))
        }
        (Order::Resolve, _) if act.reason.is_empty() => Err("give a reason".to_owned()),
        (Order::Resolve, _) => Ok(IncidentInput::Resolved(act)),
        (Order::Approve | Order::Deny | Order::Release, _) => Err("that is for accounts".to_owned()),
    }
}

/// Everything under keys with this beginning.
async fn all<S: Store, T: DeserializeOwned>(store: &S, prefix: &str) -> Result<Vec<T>, HandleError> {
    let (mut found, mut after) = (Vec::new(), None::<Arc<str>>);
    loop {
        let keys = store.keys(prefix, after.as_deref(), PAGE).await?;
        for key in &keys {
            if let Some(item) = store.load(key).await? {
                found.push(item.decode()?);
            }
        }
        match keys.last() {
            Some(last) if keys.len() == PAGE => after = Some(Arc::clone(last)),
            Some(_) | None => return Ok(found),
        }
    }
}
