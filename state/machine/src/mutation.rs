//! Mistakes that are made on purpose, to prove that the simulation finds them.
//!
//! Without the feature `mutations` none can be made, and asking for one costs nothing.

#[cfg(feature = "mutations")]
use std::cell::Cell;

macro_rules! mutations {
    ($($(#[doc = $doc:literal])+ $mutation:ident $name:literal;)+) => {
        /// A mistake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mutation {
            $($(#[doc = $doc])+ $mutation,)+
        }

        impl Mutation {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$mutation),+];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$mutation => $name,)+
                }
            }
        }
    };
}

mutations! {
    /// Records are checkpointed before what follows from them is saved.
    CheckpointBeforeSave "checkpoint-before-save";
    /// A shard's writes carry no fence.
    NoFence "no-fence";
    /// The window of violations begins anew at fixed times, and does not slide.
    TumblingWindow "tumbling-window";
    /// A waiver works for ever.
    WaiverWithoutExpiry "waiver-without-expiry";
    /// What could not be found out counts as a violation.
    UnknownIsNo "unknown-is-no";
    /// What could not be found out counts as in order.
    UnknownIsYes "unknown-is-yes";
    /// A session counts at its beginning and once more at its end.
    DoubleCount "double-count";
    /// What is not done yet is not due.
    ForgottenOutbox "forgotten-outbox";
    /// A live session is not due again once it was looked at.
    DueNotRenewed "due-not-renewed";
    /// An account and region whose sessions rest is not due again once it was looked at.
    PlaceNotRenewed "place-not-renewed";
    /// A session that rests and is alive is taken as it was, whatever else is told of it.
    NewsIgnored "news-ignored";
    /// A session that rests is not brought up to the last look at its place when something is done with it.
    ConfirmForgotten "confirm-forgotten";
    /// A change of what sessions rest on that rest in a place is not told to the place.
    PlaceChangeForgotten "place-change-forgotten";
    /// A session that rests, and of which the process remembers nothing, is not asked about with its place.
    UnseenNotAsked "unseen-not-asked";
    /// A child shard is read before its parent has ended.
    ChildBeforeParent "child-before-parent";
    /// The end of a lock is not looked at before it counts as over.
    ReleaseWithoutVerify "release-without-verify";
    /// The second attempt at something has another id than the first.
    RetryWithoutIdempotence "retry-without-idempotence";
    /// A lease is renewed by a worker whose reader stands still.
    RenewalWithoutProgress "renewal-without-progress";
    /// An effect is noted as done although its report could not be written.
    DoneBeforeWritten "done-before-written";
    /// A wake-up is deleted before it is handled.
    WakeDeletedFirst "wake-deleted-first";
    /// Locks have no caps.
    NoCaps "no-caps";
    /// An account that is never to be locked is locked.
    ExemptLocked "exempt-locked";
    /// An account is locked for all because of one person.
    AccountForOne "account-for-one";
    /// What cannot be read is passed over.
    PoisonDropped "poison-dropped";
    /// A write that lost its race is not tried again.
    LostRaceForgotten "lost-race-forgotten";
    /// A termination that was answered counts as an end that was seen.
    EndUnconfirmed "end-unconfirmed";
    /// Fences of several shards are compared: the simulation found it in the product.
    FenceOfAnyShard "fence-of-any-shard";
    /// A lock that somebody detached lasts longer once it is put back: the simulation found it in the product.
    DriftRenewsLock "drift-renews-lock";
    /// A lock that waits for a place is due all the time: the simulation found it in the product.
    WaitingAlwaysDue "waiting-always-due";
}

#[cfg(feature = "mutations")]
thread_local! {
    static CHOSEN: Cell<Option<Mutation>> = const { Cell::new(None) };
}

/// Makes this mistake on this thread from now on, and no other.
#[cfg(feature = "mutations")]
pub fn choose(mutation: Option<Mutation>) {
    CHOSEN.set(mutation);
}

/// Whether this mistake is made.
#[cfg(feature = "mutations")]
pub fn made(mutation: Mutation) -> bool {
    CHOSEN.get() == Some(mutation)
}

/// Whether this mistake is made: none is.
#[cfg(not(feature = "mutations"))]
#[inline]
pub const fn made(_: Mutation) -> bool {
    false
}
