//! Which faults happen, and when: a function of the seed, the fault and how often it could have happened.
//!
//! Each fault has a stream of chance of its own. To leave one out, or to let only some of its occurrences happen, so
//! changes no other fault's draws: that is what makes a failure small.

use std::collections::{BTreeMap, BTreeSet};

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $fault:ident $name:literal $low:literal $high:literal;)+) => {
        /// Something that goes wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $($(#[doc = $doc])+ $fault,)+
        }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$fault),+];

            /// Its name on the command line and in reports.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$fault => $name,)+
                }
            }

            /// What it is, in words.
            pub fn about(self) -> &'static str {
                match self {
                    $(Self::$fault => concat!($($doc),+),)+
                }
            }

            /// The lowest and the highest share of its opportunities in which it happens, of which each seed draws one.
            pub fn rates(self) -> (f64, f64) {
                match self {
                    $(Self::$fault => ($low, $high),)+
                }
            }
        }
    };
}

// An opportunity is a call, an event or, where a time is named, the passing of a simulated second.
faults! {
    /// A worker is killed at a random poll of a random task; second.
    Crash "crash" 0.000_3 0.01;
    /// A worker is killed between a call's effect and its answer; call that changes something.
    CrashAfterEffect "crash-after-effect" 0.000_5 0.01;
    /// A worker is killed at a call that changes the organisation, before or after its effect; such a call.
    CrashInQuarantine "crash-in-quarantine" 0.05 0.4;
    /// A worker is asked to stop, and started again; second.
    Restart "restart" 0.000_2 0.003;
    /// A worker stands still past its leases, and goes on; second.
    Pause "pause" 0.000_3 0.004;
    /// Somebody else's row takes a lease over; second.
    LeaseTheft "lease-theft" 0.000_3 0.004;
    /// A worker's clocks are off: start of a worker.
    ClockSkew "clock-skew" 0.3 1.0;
    /// A task is not polled for a while; poll.
    Stutter "stutter" 0.000_1 0.002;
    /// A shard is split; second.
    Split "split" 0.000_5 0.004;
    /// Two shards are merged; second.
    Merge "merge" 0.000_5 0.004;
    /// A place in a shard expires; reading.
    IteratorExpired "iterator-expired" 0.000_5 0.02;
    /// A reading is throttled.
    ReadThrottled "read-throttled" 0.005 0.2;
    /// A reading never answers.
    ReadHangs "read-hangs" 0.000_1 0.002;
    /// A reading gives a part of what is there.
    PartialBatch "partial-batch" 0.05 0.6;
    /// The list of shards is not answered.
    ListFails "list-fails" 0.05 0.4;
    /// An event is delivered twice; event.
    EventDuplicate "event-duplicate" 0.01 0.2;
    /// An event overtakes others by up to half a minute; event.
    EventReordered "event-reordered" 0.01 0.3;
    /// An event is delivered minutes or hours late; event.
    EventLate "event-late" 0.001 0.02;
    /// The opening call of a session is delivered after what follows it; such an event.
    StartLate "start-late" 0.02 0.3;
    /// An event is never delivered; event.
    EventLost "event-lost" 0.001 0.02;
    /// A record that cannot be read arrives; second.
    Poison "poison" 0.001 0.02;
    /// A record that is larger than one may be arrives; second.
    Oversize "oversize" 0.000_2 0.001;
    /// An aggregated record arrives; second.
    Aggregated "aggregated" 0.000_2 0.002;
    /// Time to Live deletes an item long before its time; second.
    TtlEarly "ttl-early" 0.000_2 0.002;
    /// What was deleted is told again, or late; telling.
    TtlLate "ttl-late" 0.1 0.6;
    /// A wake-up is delivered twice; sending.
    WakeDuplicate "wake-duplicate" 0.01 0.3;
    /// A wake-up is lost; sending.
    WakeLost "wake-lost" 0.005 0.2;
    /// A wake-up is late; sending.
    WakeLate "wake-late" 0.01 0.2;
    /// A received wake-up comes again before its time; delivery.
    WakeVisibility "wake-visibility" 0.01 0.2;
    /// A call of the queue fails.
    QueueFails "queue-fails" 0.002 0.05;
    /// A call of the store fails, and nothing was done.
    StoreFails "store-fails" 0.000_5 0.02;
    /// A save is done, and its answer lost.
    StoreAnswerLost "store-answer-lost" 0.000_5 0.02;
    /// A save of several items is done for some of them.
    StorePartial "store-partial" 0.001 0.02;
    /// A save is answered as lost to another writer, which it was not.
    StoreConflict "store-conflict" 0.001 0.05;
    /// A call of the store takes seconds.
    StoreSlow "store-slow" 0.000_2 0.005;
    /// The due index follows its item later; write.
    IndexLag "index-lag" 0.01 0.3;
    /// A call of the lease table fails, and nothing was done.
    LeaseFails "lease-fails" 0.002 0.05;
    /// A lease is written, and the answer lost.
    LeaseAnswerLost "lease-answer-lost" 0.002 0.05;
    /// A lease is written seconds later, and nobody is told.
    LeaseLate "lease-late" 0.001 0.02;
    /// A call into an account is throttled.
    CallThrottled "call-throttled" 0.002 0.1;
    /// A call into an account fails without a reason.
    CallFails "call-fails" 0.002 0.05;
    /// A call into an account takes seconds.
    CallSlow "call-slow" 0.002 0.03;
    /// A call into an account is never answered.
    CallHangs "call-hangs" 0.000_1 0.002;
    /// The credentials of one account run out in the middle of a look; call.
    StsExpired "sts-expired" 0.000_2 0.005;
    /// One account refuses everything for minutes; second.
    AccountDenied "account-denied" 0.000_5 0.004;
    /// One account refuses all questions about its roles, for up to half an hour; second.
    IamDenied "iam-denied" 0.000_3 0.003;
    /// One account answers nothing for minutes; second.
    AccountSlow "account-slow" 0.000_3 0.002;
    /// One region answers nothing for minutes; second.
    RegionGone "region-gone" 0.000_2 0.001_5;
    /// A session is terminated, and the call is not answered.
    TerminateTimesOut "terminate-times-out" 0.02 0.4;
    /// A termination is answered with success, and nothing happens.
    TerminatePretends "terminate-pretends" 0.02 0.4;
    /// A description shows sessions as they were some seconds ago; description.
    StaleDescribe "stale-describe" 0.02 0.4;
    /// A role is shown as it was some seconds ago; question.
    StaleIam "stale-iam" 0.02 0.4;
    /// The organisation is being changed by somebody else; change.
    OrgConflict "org-conflict" 0.05 0.5;
    /// A change of the organisation is done, and its answer lost; change.
    OrgAnswerLost "org-answer-lost" 0.05 0.4;
    /// An account takes no further policy for minutes; second.
    SlotsFull "slots-full" 0.000_2 0.001_5;
    /// Somebody else detaches a quarantine policy; second.
    ForeignDetach "foreign-detach" 0.001 0.03;
    /// Feed and audit trail take nothing for a while; second.
    FeedDown "feed-down" 0.000_2 0.002;
    /// Something is written into feed and audit trail, and the answer lost; write.
    FeedAnswerLost "feed-answer-lost" 0.000_5 0.02;
    /// What cannot be read cannot be parked; parking.
    ParkingFails "parking-fails" 0.05 0.4;
    /// Metric data are not taken; call.
    MetricsFail "metrics-fail" 0.05 0.5;
    /// People cannot be told; notification.
    NotifyFails "notify-fails" 0.02 0.3;
}

impl Fault {
    /// The fault of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|fault| fault.name() == name)
    }
}

/// One occurrence of a fault: which, and at which of its opportunities, counted from 0.
pub type Occurrence = (Fault, u64);

/// Decides which faults happen.
#[derive(Debug)]
pub struct Chance {
    seed: u64,
    /// By fault; 0 for one that never happens.
    rates: Vec<f64>,
    /// Nothing but these happens, where it is given.
    only: Option<BTreeSet<Occurrence>>,
    opportunities: Vec<u64>,
    /// What happened, in order.
    pub happened: Vec<Occurrence>,
    /// Nothing happens any more.
    pub over: bool,
}

/// A number that looks like chance and follows from these three.
pub fn mix(seed: u64, stream: u64, at: u64) -> u64 {
    let scramble = |mut word: u64| {
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    };
    let with = |word: u64, next: u64| scramble(word.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_add(scramble(next)));
    with(with(with(0, seed), stream), at)
}

/// A share between 0 and 1 from 64 bits.
pub fn share_of(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

impl Chance {
    /// Faults at these rates.
    pub fn new(seed: u64, rates: &BTreeMap<Fault, f64>, only: Option<BTreeSet<Occurrence>>) -> Self {
        let rates = Fault::ALL.iter().map(|fault| rates.get(fault).copied().unwrap_or_default()).collect();
        Self { seed, rates, only, opportunities: vec![0; Fault::ALL.len()], happened: Vec::new(), over: false }
    }

    /// Whether a fault happens now, and if so, a number for whatever else has to be drawn about it.
    pub fn happens(&mut self, fault: Fault) -> Option<u64> {
        let rate = self.rates[fault as usize];
        if self.over || rate <= 0.0 {
            return None;
        }
        let count = &mut self.opportunities[fault as usize];
        let at = *count;
        *count += 1;
        let allowed = self.only.as_ref().is_none_or(|only| only.contains(&(fault, at)));
        if !allowed || share_of(mix(self.seed, fault as u64, at)) >= rate {
            return None;
        }
        self.happened.push((fault, at));
        Some(mix(self.seed, 1_000 + fault as u64, at))
    }

    /// How often each fault has happened.
    pub fn counts(&self) -> BTreeMap<Fault, u64> {
        let mut counts = BTreeMap::new();
        for (fault, _) in &self.happened {
            *counts.entry(*fault).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(seed: u64, rates: &[(Fault, f64)], only: Option<BTreeSet<Occurrence>>) -> Vec<Occurrence> {
        let mut chance = Chance::new(seed, &rates.iter().copied().collect(), only);
        for _ in 0..1_000 {
            for (fault, _) in rates {
                chance.happens(*fault);
            }
        }
        chance.happened
    }

    #[test]
    fn to_leave_one_out_changes_no_other() {
        let both = all(7, &[(Fault::Crash, 0.05), (Fault::WakeLost, 0.1)], None);
        let one = all(7, &[(Fault::WakeLost, 0.1)], None);
        assert!((60..140).contains(&one.len()), "{}", one.len());
        assert!(both.iter().filter(|(fault, _)| *fault == Fault::WakeLost).eq(&one));
        assert_ne!(one, all(8, &[(Fault::WakeLost, 0.1)], None));
        let kept: BTreeSet<Occurrence> = one.iter().take(3).copied().collect();
        assert_eq!(all(7, &[(Fault::Crash, 0.05), (Fault::WakeLost, 0.1)], Some(kept)), one[..3]);
    }

    #[test]
    fn names_lead_back_to_their_faults() {
        for fault in Fault::ALL {
            assert_eq!(Fault::named(fault.name()), Some(*fault));
            assert!(fault.rates().0 <= fault.rates().1 && !fault.about().is_empty());
        }
    }
}
