//! One look at each live session: asked, judged, decided and saved, against reading and writing the same items.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result, ensure};
use sessionwarden::{
    audit::AuditFile,
    effects::Reports,
    feed::FeedFile,
    handle::Handler,
    local::LocalOrganization,
    metrics::Metrics,
    policy,
    replay::cpu_seconds,
    run::{Board, SharedBoard},
};
use sessionwarden_machine::{
    compliance::{Judge, Verdicts},
    effect::Mode,
    ids::Now,
    session::Session,
    settings::Settings,
};
use sessionwarden_store::{Item, Memory, Store, Write};
use sessionwarden_world::{LogFate, OrganisationShape, StartSession, World};

use super::{
    Bench,
    report::{Line, Section, rate},
};

const ACCOUNTS: usize = 20;
const SESSIONS: usize = 2_000;
/// Looks at each session in one measurement.
const ROUNDS: i64 = 4;
/// A look costs no more than so many times what it costs to read and write its item.
const FLOORS_MAX: f64 = 4.0;
const BEGIN: Now = Now(1_748_844_000_000);

type LooksHandler = Handler<Memory, LocalOrganization>;

/// An organisation with sessions that a handler has adopted.
struct Scene {
    organization: LocalOrganization,
    store: Memory,
    settings: Settings,
    judge: Arc<Judge>,
    folder: tempfile::TempDir,
    now: Now,
}

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let [mut kept, mut anew, mut floor] = [f64::MAX; 3];
    for _ in 0..bench.rounds {
        let seconds = runtime.block_on(seconds_of_a_look())?;
        kept = kept.min(seconds[0]);
        anew = anew.min(seconds[1]);
        floor = floor.min(seconds[2]);
    }
    Ok(Section {
        title: "Looks",
        method: format!(
            "Looks at live sessions for each second of processor time, one thread: {SESSIONS} sessions in {ACCOUNTS} \
             accounts of the model organisation, all of them due, nothing has changed. Each is read, asked about, judged, \
             and saved with its answers in the store in memory. Anew: by a handler that has looked at nothing before, as \
             one of many workers. Floor: the same items are read, decoded, encoded and written."
        ),
        lines: vec![
            Line::shown("looks", rate(1.0 / kept)),
            Line::shown("looks, anew", rate(1.0 / anew)),
            Line::shown("floor", rate(1.0 / floor)),
            Line::at_most("time of a look / of the floor", kept / floor, FLOORS_MAX, |times| format!("{times:.2}")),
            Line::shown("time of a look anew / of a look", format!("{:.2}", anew / kept)),
        ],
    })
}

/// Processor seconds for one look by a handler that has looked before, by one that has not, and for one of the floor.
async fn seconds_of_a_look() -> Result<[f64; 3]> {
    let mut scene = Scene::new()?;
    let mut handler = scene.handler("kept")?;
    handler.reconcile(scene.now).await?;
    scene.check().await?;
    let mut seconds = [0.0; 3];
    for round in 0..ROUNDS {
        scene.pass();
        seconds[0] += look(&mut handler, &scene).await?;
        scene.check().await?;
        scene.pass();
        let mut fresh = scene.handler(&format!("anew-{round}"))?;
        fresh.recover(scene.now).await?;
        seconds[1] += look(&mut fresh, &scene).await?;
        scene.check().await?;
        // It has to see what the other one wrote, as its own timers are late.
        handler.recover(scene.now).await?;
        seconds[2] += floor(&scene.store).await?;
    }
    Ok(seconds.map(|seconds| seconds / (ROUNDS * SESSIONS as i64) as f64))
}

async fn look(handler: &mut LooksHandler, scene: &Scene) -> Result<f64> {
    let before = cpu_seconds();
    handler.recheck(scene.now).await?;
    Ok(cpu_seconds() - before)
}

async fn floor(store: &Memory) -> Result<f64> {
    let keys = store.keys("session#", None, usize::MAX >> 1).await?;
    let before = cpu_seconds();
    for key in &keys {
        let item = store.load(key).await?.context("an item is gone")?;
        let session: Session = item.decode()?;
        let again =
            Item { due: item.due, depends: item.depends, expires: item.expires, ..Item::encode(item.key, &session)? };
        store.save(vec![Write { item: again, expected: item.rev }]).await?;
    }
    Ok(cpu_seconds() - before)
}

impl Scene {
    fn new() -> Result<Self> {
        let shape = OrganisationShape {
            accounts: ACCOUNTS,
            regions: vec!["eu-central-1".into()],
            idle_timeout_ms: 86_400_000,
            ..OrganisationShape::quick()
        };
        let mut world = World::new(shape, 7, BEGIN);
        let accounts: Vec<_> = world.accounts().iter().skip(2).cloned().collect();
        for number in 0..SESSIONS {
            let account = &accounts[number % accounts.len()];
            let user = &account.users[number % account.users.len()];
            let node = &account.nodes[number / accounts.len() % 4];
            let (region, target) = (Arc::clone(&node.region), Arc::clone(&node.id));
            let log = LogFate::Usual;
            world.start_session(user, &StartSession { region, target, log, ..StartSession::default() })?;
        }
        let now = BEGIN.plus_ms(60_000);
        world.advance_to(now);
        let organization = LocalOrganization::new(world);
        let mut settings = Settings { mode: Mode::Enforce, ..Settings::default() };
        organization.settle_in(&mut settings);
        let (store, judge) = (Memory::new(), policy::load(None, None)?);
        Ok(Self { organization, store, settings, judge, folder: tempfile::tempdir()?, now })
    }

    fn handler(&self, name: &str) -> Result<LooksHandler> {
        let metrics = Metrics::new()?;
        let board = SharedBoard::new(Board::new(BEGIN, &self.settings, "bench", metrics.clone()));
        let file = |kind: &str| self.folder.path().join(format!("{name}-{kind}.jsonl"));
        let reports = Reports::new(FeedFile::open(&file("feed"))?, AuditFile::open(Path::new(&file("audit")))?);
        let (organization, verdicts) = (self.organization.clone(), Verdicts::new(Arc::clone(&self.judge)));
        let settings = self.settings.clone();
        Ok(Handler::new(self.store.clone(), Some(organization), settings, verdicts, reports, metrics, board))
    }

    /// Until all are due again.
    fn pass(&mut self) {
        self.now = self.now.plus_ms(self.settings.recheck_ms + 1_000);
        let now = self.now;
        self.organization.with(|world| world.advance_to(now));
    }

    /// Every session was looked at, found alive, and violates nothing.
    async fn check(&self) -> Result<()> {
        let keys = self.store.keys("session#", None, usize::MAX >> 1).await?;
        ensure!(keys.len() == SESSIONS, "{} sessions are known", keys.len());
        for key in keys {
            let item = self.store.load(&key).await?.context("an item is gone")?;
            let session: Session = item.decode()?;
            let looked_at = session.seen.as_ref().and_then(|seen| seen.gathered_at);
            ensure!(looked_at == Some(self.now) && session.ended_at().is_none(), "{key} was not looked at");
            ensure!(!session.is_violating(), "{key} violates {:?}", session.violations);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_session_is_looked_at() {
        let seconds = seconds_of_a_look().await.unwrap();
        assert!(seconds.iter().all(|seconds| *seconds > 0.0), "{seconds:?}");
    }
}
