//! The servers of one backend, as `policy: model` sees them.

use crate::core::names::ServerId;

/// All of them, in HAProxy's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pool {
    /// Each server that the policy may count on or use.
    pub servers: Vec<Member>,
    /// Weights have an effect on the backend's algorithm.
    pub takes_weights: bool,
    /// Sessions HAProxy has counted on this backend since its last log line reached us; 0 while
    /// that can be told from requests that still run.
    pub unseen: u64,
    /// Requests waiting in HAProxy for this backend, its servers' queues included.
    pub queued: u64,
}

/// One server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Member {
    /// Which.
    pub server: ServerId,
    /// Where it stands.
    pub stage: Stage,
    /// Its weight over its full weight, 0 to 1.
    pub share: f64,
    /// Requests on it now, by HAProxy's count.
    pub sessions: u32,
    /// Its `maxconn`, if it has one.
    pub maxconn: Option<u32>,
    /// It may be taken away.
    pub removable: bool,
}

/// Where a server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It takes requests.
    Serving,
    /// A plan is about to make it serve.
    Starting,
    /// In DRAIN by a plan that is under way, and can be taken back at once.
    Parked,
    /// It can be started, or be taken out of a DRAIN that no plan goes on with.
    Spare,
}

impl Pool {
    /// Those at `stage`, in HAProxy's order.
    pub fn at(&self, stage: Stage) -> impl Iterator<Item = &Member> {
        self.servers.iter().filter(move |member| member.stage == stage)
    }

    /// How many are at `stage`.
    pub fn count(&self, stage: Stage) -> u32 {
        u32::try_from(self.at(stage).count()).unwrap_or(u32::MAX)
    }
}
