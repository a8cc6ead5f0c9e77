use proptest::prelude::*;

use super::*;

const OWN_MS: u64 = 8_000;

fn settings() -> LeaseSettings {
    LeaseSettings::default()
}

fn counts(taken: &[Plan]) -> Vec<&'static str> {
    let name = |plan: &Plan| match plan {
        Plan::Stop { .. } => "stop",
        Plan::Drain { .. } => "drain",
        Plan::Release { .. } => "release",
        Plan::Renew { .. } => "renew",
        Plan::Take { .. } => "take",
        Plan::Steal { .. } => "steal",
    };
    taken.iter().map(name).collect()
}

#[test]
fn a_lease_expires_by_the_observers_clock_since_its_counter_changed() {
    let mut observed = saw("ann", [row("s", Some("bob"))], 1_000_000);
    let expired = |observed: &Observed, now| observed.expired(&"s".into(), &settings(), Mono(now));
    assert!(!expired(&observed, 1_009_999) && expired(&observed, 1_010_000));
    observed.see([row("s", Some("bob"))], Mono(1_009_000));
    assert!(expired(&observed, 1_010_000), "read again, but not renewed");
    observed.see([Lease { counter: 6, ..row("s", Some("bob")) }], Mono(1_010_000));
    assert!(!expired(&observed, 1_019_999) && expired(&observed, 1_020_000));
    let unowned = saw("ann", [row("s", None)], 0);
    assert!(!expired(&unowned, 99_000), "it has no owner who could have stopped");
}

#[test]
fn an_owner_takes_its_lease_for_lost_before_others_do() {
    // I3
    let observed = holding("ann", &row("s", None), 0);
    let shard = ShardId::from("s");
    let bob = saw("bob", [observed.leases()[&shard].clone()], 0);
    assert_eq!(observed.holds(&shard, &settings(), Mono(OWN_MS - 1)), Some(4));
    assert_eq!(observed.holds(&shard, &settings(), Mono(OWN_MS)), None);
    assert_eq!(observed.mine_lost(&shard, &settings(), Mono(OWN_MS)), Some(Lost::TooLate));
    assert!(!bob.expired(&shard, &settings(), Mono(OWN_MS)));
    assert_eq!(plan(&bob, OWN_MS), []);
}

#[test]
fn leases_are_renewed_every_third_of_the_fail_over_time() {
    let observed = holding("ann", &row("s", None), 0);
    assert_eq!(plan(&observed, 3_332), []);
    let lease = &observed.leases()[&"s".into()];
    assert_eq!(plan(&observed, 3_333), [Plan::Renew { write: Write::renew(lease) }]);
}

#[test]
fn a_reader_that_stands_still_is_not_renewed() {
    // Designed out: a consumer that stalls while its lease is still renewed.
    let shard = ShardId::from("s");
    let mut observed = holding("ann", &row("s", None), 0);
    let checkpointer = Checkpointer::new(&Checkpoint::TrimHorizon, 10);
    let mut progress = ReaderProgress::started(Mono(0));
    let mut now = 0;
    let round = |observed: &mut Observed, progress: &ReaderProgress, now: u64| {
        let readers = BTreeMap::from([(shard.clone(), Reader { progress, checkpointer: &checkpointer })]);
        let plans = plan_with(observed, &readers, false, now);
        for plan in &plans {
            if let Plan::Renew { write } = plan {
                observed.applied(write, &Applied::Done(write.becomes.counter), Mono(now), Mono(now));
            }
        }
        plans
    };
    while now < 60_000 {
        now += 1_000;
        progress.made(Mono(now));
        assert!(!counts(&round(&mut observed, &progress, now)).contains(&"stop"), "{now}");
    }
    let mut renewed_last = now;
    let stopped = loop {
        now += 500;
        let plans = round(&mut observed, &progress, now);
        match &plans[..] {
            [] => {}
            [Plan::Renew { .. }] => renewed_last = now,
            [Plan::Stop { why, .. }] => break *why,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(stopped, Lost::Stalled);
    assert!(renewed_last <= 60_000 + settings().fail_over_ms && now <= renewed_last + OWN_MS + 500);
    observed.stopped(&shard, stopped);
    assert_eq!(plan(&observed, now), [], "others go first");
    assert_eq!(plan(&observed, renewed_last + 19_999), []);
    assert_eq!(counts(&plan(&observed, renewed_last + 20_000)), ["take"]);
}

#[test]
fn expired_and_unowned_leases_are_taken_up_to_the_target() {
    let rows = |owners: &[Option<&str>]| -> Vec<Lease> {
        owners.iter().enumerate().map(|(at, owner)| row(&format!("s{at}"), *owner)).collect()
    };
    // Owners of rows, which owners live, and how many ann takes or asks for.
    let (none, bob, eve) = (None, Some("bob"), Some("eve"));
    type Case<'a> = (&'a [Option<&'a str>], &'a [&'a str], &'a [&'a str]);
    let cases: [Case<'_>; 9] = [
        (&[none, none, none, none], &[], &["take", "take", "take", "take"]),
        (&[none, none, bob, bob], &["bob"], &["take", "take"]),
        (&[none, bob, bob, bob], &["bob"], &["take"]),
        (&[bob, bob, bob, bob], &[], &["take", "take", "take", "take"]),
        (&[bob, bob, bob, bob], &["bob"], &["steal"]),
        (&[bob, bob, eve, eve], &["bob", "eve"], &["steal"]),
        (&[bob, eve, eve], &["bob"], &["take", "take"]),
        (&[bob, eve], &["bob", "eve"], &[]),
        (&[bob], &["bob"], &[]),
    ];
    for (owners, alive, expected) in cases {
        let mut observed = saw("ann", rows(owners), 0);
        let renewed = |row: Lease| {
            let alive = row.owner.as_ref().is_some_and(|owner| alive.contains(&&*owner.0));
            Lease { counter: row.counter + u64::from(alive), ..row }
        };
        observed.see(rows(owners).into_iter().map(renewed), Mono(9_000));
        assert_eq!(counts(&plan(&observed, 10_000)), expected, "{owners:?} {alive:?}");
    }
}

#[test]
fn shards_that_ended_or_wait_for_a_parent_count_for_nobody() {
    let mut rows: Vec<Lease> = (0..4).map(|at| row(&format!("s{at}"), None)).collect();
    rows.extend(
        (0..40).map(|at| Lease { checkpoint: Checkpoint::ShardEnd, ..row(&format!("ended{at}"), Some("bob")) }),
    );
    rows.extend((0..40).map(|at| Lease { parents: ids(&["s0"]), ..row(&format!("waits{at}"), None) }));
    let observed = saw("ann", rows, 0);
    let workers = BTreeSet::from(["bob".into(), "eve".into(), "joe".into()]);
    let situation = Situation { observed: &observed, readers: &BTreeMap::new(), workers: &workers, stopping: false };
    assert_eq!(counts(&plan_leases(&situation, &settings(), Mono(0))), ["take"]);
}

#[test]
fn a_worker_takes_no_more_than_its_bound() {
    let observed = saw("ann", (0..9).map(|at| row(&format!("s{at}"), None)), 0);
    let settings = LeaseSettings { leases_max: 2, ..settings() };
    let workers = BTreeSet::new();
    let situation = Situation { observed: &observed, readers: &BTreeMap::new(), workers: &workers, stopping: false };
    assert_eq!(counts(&plan_leases(&situation, &settings, Mono(0))), ["take", "take"]);
}

#[test]
fn a_shard_that_is_nobodys_share_is_not_left_alone() {
    let rows = [row("a", Some("bob")), row("b", Some("joe")), row("free", None)];
    let mut observed = holding("ann", &row("mine", None), 0);
    let own = observed.leases()[&"mine".into()].clone();
    observed.see(rows.into_iter().chain([own]), Mono(0));
    let workers = ["bob", "joe", "eve"].map(WorkerId::from).into();
    let readers = BTreeMap::new();
    let situation = Situation { observed: &observed, readers: &readers, workers: &workers, stopping: false };
    assert_eq!(plan_leases(&situation, &settings(), Mono(999)), []);
    assert_eq!(counts(&plan_leases(&situation, &settings(), Mono(1_000))), ["take"]);
}

#[test]
fn the_fence_of_a_child_is_above_those_of_both_parents() {
    // I3: a subject's records move from the parents to the child.
    let parent = |shard: &str, fence| Lease { fence, checkpoint: Checkpoint::ShardEnd, ..row(shard, None) };
    let child = Lease { parents: ids(&["p", "q"]), fence: 1, ..row("c", None) };
    let observed = saw("ann", [parent("p", 7), parent("q", 30), child], 0);
    let [Plan::Take { write, .. }] = &plan(&observed, 0)[..] else { panic!("not taken") };
    assert_eq!((&write.shard, write.becomes.fence), (&"c".into(), 31));
}

/// The row as stored after the only plan's write, which has to hold.
fn written(plans: &[Plan], stored: &Lease) -> Lease {
    let [Plan::Release { write, .. } | Plan::Take { write, .. } | Plan::Steal { write, .. }] = plans else {
        panic!("{plans:?}")
    };
    assert!(write.holds_for(stored));
    write.apply_to(stored)
}

#[test]
fn a_shard_is_handed_over_drained_and_with_its_last_checkpoint() {
    // Designed out: a hand-off that leaves the shard silent.
    let shard = ShardId::from("s");
    let mut bob = holding("bob", &row("s", None), 0);
    let stored = Lease { hand_off_to: Some("ann".into()), ..bob.leases()[&shard].clone() };
    bob.see([stored.clone()], Mono(1_000));
    let progress = ReaderProgress::started(Mono(1_000));
    let mut checkpointer = Checkpointer::new(&Checkpoint::TrimHorizon, 10);
    let ticket = checkpointer.hand_out(at(9)).unwrap();
    let plans = |bob: &Observed, checkpointer: &Checkpointer, now| {
        plan_with(bob, &BTreeMap::from([(shard.clone(), Reader { progress: &progress, checkpointer })]), false, now)
    };
    assert_eq!(plans(&bob, &checkpointer, 1_000), [Plan::Drain { shard: shard.clone() }]);
    assert_eq!(counts(&plans(&bob, &checkpointer, 4_000)), ["drain", "renew"], "held until it is drained");
    checkpointer.drain();
    checkpointer.complete(ticket);
    let after = written(&plans(&bob, &checkpointer, 4_000), &stored);
    assert_eq!((&after.owner, &after.hand_off_to), (&Some("ann".into()), &None));
    assert_eq!(after.checkpoint, Checkpoint::Sequence(at(9)));

    let ann = saw("ann", [after.clone()], 5_000);
    let [Plan::Take { why: TakeReason::Given, .. }] = &plan(&ann, 5_000)[..] else { panic!("not taken at once") };
    let eve = saw("eve", [after], 5_000);
    assert_eq!(plan(&eve, 5_000), []);
    assert_eq!(counts(&plan(&eve, 15_000)), ["take"], "the taker died");
}

#[test]
fn a_hand_off_is_forced_after_its_limit() {
    // Designed out: a hand-off that leaves the shard silent.
    let stored = Lease { hand_off_to: Some("ann".into()), ..row("s", Some("bob")) };
    let mut ann = saw("ann", [stored.clone()], 0);
    let mut eve = saw("eve", [stored.clone()], 0);
    let mut stored = stored;
    for now in (1_000..=30_000).step_by(1_000) {
        stored.counter += 1;
        assert_eq!((plan(&ann, now - 1), plan(&eve, now - 1)), (vec![], vec![]), "{now}");
        ann.see([stored.clone()], Mono(now));
        eve.see([stored.clone()], Mono(now));
    }
    let after = written(&plan(&ann, 30_000), &stored);
    assert_eq!((after.owner, after.hand_off_to, after.fence), (Some("ann".into()), None, 4));
    assert_eq!(plan(&eve, 30_000), [], "only the one who asked");
}

#[test]
fn a_worker_that_stops_gives_all_back_and_takes_nothing() {
    let mut ann = holding("ann", &row("s", None), 0);
    let mut rows: Vec<Lease> = ann.leases().values().cloned().collect();
    rows.extend([row("free", None), row("given", Some("ann"))]);
    ann.see(rows, Mono(10));
    let plans = plan_with(&ann, &BTreeMap::new(), true, 10);
    let released = |plan: &Plan| matches!(plan, Plan::Release { to: None, write } if write.becomes.owner.is_none());
    assert!(plans.len() == 2 && plans.iter().all(released), "{plans:?}");
}

#[test]
fn no_checkpoint_is_planned_once_the_lease_is_lost() {
    // Designed out: a checkpoint written after the lease was lost.
    let shard = ShardId::from("s");
    let mut observed = holding("ann", &row("s", None), 0);
    let mut checkpointer = Checkpointer::new(&Checkpoint::TrimHorizon, 10);
    let ticket = checkpointer.hand_out(at(9)).unwrap();
    checkpointer.complete(ticket);
    let planned = |observed: &Observed, now| plan_checkpoint(observed, &shard, &checkpointer, &settings(), Mono(now));
    let write = planned(&observed, OWN_MS - 1).unwrap();
    assert_eq!(write.checkpoint, Some(Checkpoint::Sequence(at(9))));
    assert_eq!(planned(&observed, OWN_MS), None);
    let stolen = Lease { owner: Some("bob".into()), fence: 5, ..observed.leases()[&shard].clone() };
    assert!(!write.holds_for(&stolen), "and the store would refuse it");
    observed.see([stolen], Mono(10));
    assert_eq!(planned(&observed, 10), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_plan_does_not_depend_on_the_order_of_rows(
        owners in prop::collection::vec(prop::option::of(prop::sample::select(vec!["ann", "bob", "eve", "joe"])), 0..24),
        order in any::<prop::sample::Index>(),
        now in 0..40_000_u64,
    ) {
        let rows: Vec<Lease> = owners.iter().enumerate().map(|(at, owner)| row(&format!("s{at}"), *owner)).collect();
        let mut turned: Vec<Lease> = rows.iter().rev().cloned().collect();
        if !turned.is_empty() {
            let by = order.index(turned.len());
            turned.rotate_left(by);
        }
        let expected = plan(&saw("ann", rows.clone(), 0), now);
        prop_assert_eq!(&plan(&saw("ann", turned, 0), now), &expected);
        prop_assert_eq!(plan(&saw("ann", rows, 0), now), expected);
    }

    #[test]
    fn workers_do_not_all_reach_for_the_same_shard(seed in 0..1_000_u32) {
        let rows: Vec<Lease> = (0..32).map(|at| row(&format!("s{seed}-{at}"), None)).collect();
        let workers: BTreeSet<WorkerId> = (0..32).map(|at| format!("w{at}").as_str().into()).collect();
        let first = workers.iter().map(|me| {
            let observed = saw(&me.0, rows.clone(), 0);
            let readers = BTreeMap::new();
            let situation = Situation { observed: &observed, readers: &readers, workers: &workers, stopping: false };
            match &plan_leases(&situation, &settings(), Mono(0))[..] {
                [Plan::Take { write, .. }] => write.shard.clone(),
                other => panic!("{other:?}"),
            }
        });
        let first: BTreeSet<ShardId> = first.collect();
        prop_assert!(first.len() >= 10, "{} of 32", first.len());
    }
}
