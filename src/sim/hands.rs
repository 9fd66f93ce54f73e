//! Does what a baseline orders: to each server by itself, without plans.

use super::Order;
use super::scenario::Scenario;
use super::world::World;
use crate::core::plan::inventory::AdminState;

/// What has been begun and has to be carried on.
#[derive(Debug)]
pub(super) struct Hands {
    drain_timeout_s: f64,
    tasks: Vec<Task>,
}

/// With one server.
#[derive(Clone, Copy, Debug)]
enum Task {
    None,
    /// To READY as soon as it is healthy.
    Start,
    /// To MAINT as soon as it is empty, or at this second.
    Stop(f64),
}

impl Hands {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self { drain_timeout_s: scenario.haproxy.drain_timeout_s, tasks: vec![Task::None; scenario.servers] }
    }

    /// Begins to do it. An order that is done or begun already, or for a server that does not exist, is passed over.
    pub(super) fn obey(&mut self, order: Order, world: &mut World) {
        let (Order::Start(server) | Order::Stop(server)) = order;
        let Some(task) = self.tasks.get_mut(server) else { return };
        match (order, world.state(server), *task) {
            (Order::Start(_), AdminState::Maint, _) => {
                world.set_state(server, AdminState::Drain);
                *task = Task::Start;
            }
            (Order::Start(_), AdminState::Drain, Task::Stop(_)) => {
                world.set_state(server, AdminState::Ready);
                *task = Task::None;
            }
            (Order::Stop(_), AdminState::Drain, Task::Start) => {
                world.set_state(server, AdminState::Maint);
                *task = Task::None;
            }
            (Order::Stop(_), AdminState::Ready, _) => {
                world.set_state(server, AdminState::Drain);
                *task = Task::Stop(world.now_s() + self.drain_timeout_s);
            }
            _ => {}
        }
    }

    /// Goes on as far as it can at this moment.
    pub(super) fn go_on(&mut self, world: &mut World) {
        for (server, task) in self.tasks.iter_mut().enumerate() {
            let next = match *task {
                Task::Start if world.is_up(server) => AdminState::Ready,
                Task::Stop(at_s) if world.sessions(server) == 0 || world.now_s() >= at_s => AdminState::Maint,
                _ => continue,
            };
            world.set_state(server, next);
            *task = Task::None;
        }
    }
}
