//! What goes into an elector and what comes out of it: data only, no decisions.

use std::time::Duration;

use crate::{Authority, Instant, Record, Term};

/// Where a piece of news came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A watch event, ADDED or MODIFIED, or an object of the watch's initial list. Without an object (an empty list, a 404)
    /// it only asks for a consistent read.
    Watch,
    /// A DELETED watch event: the object as it went, `version` being that of the deletion.
    Deleted,
    /// The answer to a consistent read; without an object it says that there is none.
    Quorum {
        /// When the read was sent.
        sent_at: Instant,
    },
}

/// The lock's object as somebody showed it to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`; compared as a number where news must be ordered.
    pub version: u64,
    /// Its content.
    pub record: Record,
}

/// One write that was sent: process nonce and number, as `tenure.dev/attempt` says them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// 128 bits drawn when the process started, in hex.
    pub nonce: String,
    /// Counts the writes of this process.
    pub number: u64,
}

impl std::fmt::Display for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.nonce, self.number)
    }
}

/// What to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteKind {
    /// POST.
    Create,
    /// PUT carrying both.
    Replace {
        /// `metadata.uid` the object must have.
        uid: String,
        /// `metadata.resourceVersion` the object must have.
        version: u64,
    },
}

/// A write to the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Which one this is; also in the record's annotations (but for a release).
    pub attempt: Attempt,
    /// POST or PUT.
    pub kind: WriteKind,
    /// The whole content to store. Labels and whatever else the object holds are to be kept as last read.
    pub record: Record,
    /// How long to wait for the answer before it counts as [`Outcome::Unknown`].
    pub timeout: Duration,
}

/// How a write ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Stored; the object as the server answered it. `created` tells a 201 from a 200.
    Stored {
        /// The object as stored.
        seen: Seen,
        /// Whether the answer was 201 Created.
        created: bool,
    },
    /// 409: the version or uid has moved on, or the object exists already.
    Conflict,
    /// A definite no (400, 401, 403, 404, 422, ...): nothing was written.
    Refused {
        /// The HTTP status code.
        code: u16,
        /// The server's message.
        message: String,
    },
    /// No definite answer: a timeout, a broken connection, a 5xx, a 429 on the way.
    Unknown {
        /// What happened, for the log.
        message: String,
    },
}

/// Why a drain begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// The process is asked to end: no campaign afterwards.
    Shutdown,
    /// A lock policy yields: campaigns again later.
    Yield,
}

/// What a lock policy says, asked ahead of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Take a free lock.
    Campaign,
    /// Let a free lock be for so long.
    Wait(Duration),
    /// Keep a held lock.
    Keep,
    /// Give a held lock up.
    Yield {
        /// Why, for people.
        reason: String,
    },
}

/// Another candidate under a lock policy, as its own candidate Lease shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerSeen {
    /// `metadata.resourceVersion`; another one shows that it has written.
    pub version: u64,
    /// Whether its last verdict was to campaign.
    pub campaigns: bool,
    /// Whether this is from a list: then whoever wrote it may have been gone for long.
    pub listed: bool,
}

/// A fencing token met outside the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// On an object: reported, raises nothing.
    OnObject(Term),
    /// A write was refused for it: ends the term, and the next is above it.
    RefusedFor(Term),
}

/// What the driver is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the lock's object consistently (a GET without resourceVersion), within `timeout`; answer with `handle_record`
    /// and [`Source::Quorum`], or with `handle_read_failed`.
    Read {
        /// How long to wait for the answer.
        timeout: Duration,
    },
    /// Write the lock's object; answer with `handle_write`. `now` given to `poll_action` is its `sent_at`.
    Write(Write),
    /// Read a Pod consistently, in the namespace of this process' own, within `timeout`; answer with `handle_pod` or
    /// `handle_pod_failed`.
    ReadPod {
        /// Its name.
        pod: String,
        /// How long to wait for the answer.
        timeout: Duration,
    },
    /// A term began: publish it.
    Begin(Authority),
    /// A renewal moved the deadlines of the running term.
    Extend(Authority),
    /// The running term turned soft, which is never taken back: signal `cancelled` and drain. With [`Drain`] if one was
    /// asked for, else it ran out. `handle_drained` follows as soon as all is quiet.
    Cancel {
        /// The term.
        term: Term,
        /// The drain that asked for it; absent when the soft deadline came.
        drain: Option<Drain>,
        /// When guests are to be killed, admission shuts.
        kill_at: Instant,
    },
    /// shutdown-grace is over: shut admission, kill guests, let admitted writes be answered.
    Kill {
        /// The term.
        term: Term,
    },
    /// The term is over: close the gate, reset its sockets, kill guests. `handle_drained` must follow, unless it came
    /// already in this term.
    Close {
        /// The term.
        term: Term,
    },
    /// Something people should know.
    Report(Report),
}

/// What an elector tells people: logs, events and metrics are made of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// `<id> became leader`.
    Started {
        /// The new term.
        term: Term,
    },
    /// `<id> stopped leading`.
    Stopped {
        /// The term that ended.
        term: Term,
        /// Why, in a sentence.
        why: String,
        /// Whether the lock was released.
        released: bool,
    },
    /// Another holder was seen.
    NewHolder {
        /// Its identity; empty: nobody.
        holder: String,
    },
    /// The Pod this process runs in shows its container: from the next term on the lock names it.
    ContainerKnown {
        /// The container's ID.
        container: String,
    },
    /// The holder's container has ended, so that the lock may be taken before it expires.
    ProvedDead {
        /// Its identity.
        holder: String,
        /// The container's ID.
        container: String,
        /// How long its last writes are waited for before.
        wait: Duration,
    },
    /// This candidate waits: for what, and how long at most.
    Waiting {
        /// What for, in a sentence.
        why: String,
        /// At most until.
        until: Instant,
    },
    /// Something is wrong that people must mend (an unreadable term, a shared identity, a write that was refused).
    Warning {
        /// What, where and how to mend it.
        message: String,
    },
    /// A renewal failed or was late; leading goes on.
    SlowPath {
        /// What happened.
        why: String,
    },
}

/// What a candidate is to the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Does not hold the lock.
    Standby,
    /// A write that would acquire it is under way.
    Acquiring,
    /// Holds it.
    Leading,
    /// Soft or draining: winding down.
    Draining,
    /// The term is over, confirmation or release outstanding.
    Releasing,
    /// Asked to shut down, and done.
    Finished,
}

/// The lock as last known, for status and events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The newest version of the object that counts.
    pub seen: Seen,
    /// When exactly this state was first seen.
    pub first_seen: Instant,
    /// When it may be taken over by expiry (for a released one: at once).
    pub expires: Instant,
}
