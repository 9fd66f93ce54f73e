//! Scripted pools and requests.

use std::time::Instant;

use crate::core::log::sample::{Class, Sample, Timers};
use crate::core::names::Names;
use crate::sim::{Order, Seen, ServerSeen, ServerStage};

/// What an autoscaler sees next.
pub(super) struct World {
    servers: Vec<ServerSeen>,
    now_s: f64,
    /// On each serving server.
    pub(super) requests: u32,
    pub(super) queued: u32,
    pub(super) workers: f64,
    pub(super) coming: f64,
    pub(super) service_time: f64,
}

impl World {
    /// Servers such as `on start drain off`.
    pub(super) fn new(servers: &str) -> Self {
        let mut world = Self {
            servers: Vec::new(),
            now_s: 0.0,
            requests: 0,
            queued: 0,
            workers: 8.0,
            coming: 0.0,
            service_time: 0.08,
        };
        world.set(servers);
        world
    }

    pub(super) fn set(&mut self, servers: &str) {
        let stage = |word| match word {
            "on" => ServerStage::Serving,
            "start" => ServerStage::Starting,
            "drain" => ServerStage::Draining,
            "off" => ServerStage::Off,
            _ => panic!("no stage: {word}"),
        };
        let server = |word| ServerSeen { stage: stage(word), requests: 0, busy: 0.0 };
        self.servers = servers.split(' ').map(server).collect();
    }

    pub(super) fn at(&mut self, now_s: f64) -> &mut Self {
        self.now_s = now_s;
        for server in &mut self.servers {
            server.requests = if server.stage == ServerStage::Serving { self.requests } else { 0 };
        }
        self
    }

    pub(super) fn seen(&self) -> Seen<'_> {
        Seen {
            now_s: self.now_s,
            servers: &self.servers,
            queued: self.queued,
            workers: self.workers,
            coming: self.coming,
            service_time: self.service_time,
        }
    }
}

/// A request with these timers: TR, Tw, Tc, Tr, Ta.
pub(super) fn sample(timers: [i32; 5]) -> Sample {
    Sample {
        backend: Names::default().backend("app").unwrap(),
        server: None,
        end: Instant::now(),
        timers: Timers::new(timers),
        class: Class::Success,
        timed_out: false,
        beconn: 0,
        srv_conn: 0,
    }
}

/// `+1 -2`: start the second, stop the third.
pub(super) fn orders(orders: &[Order]) -> String {
    let written = |order: &Order| match order {
        Order::Start(place) => format!("+{place}"),
        Order::Stop(place) => format!("-{place}"),
    };
    orders.iter().map(written).collect::<Vec<_>>().join(" ")
}
