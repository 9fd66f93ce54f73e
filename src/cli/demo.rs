//! `haproxy-autoscale demo`: a real HAProxy, small servers, a load and the agent, in one
//! terminal, in a minute. What it is made of and how it looks is in [`crate::demo`].

use std::io::{self, Stdout};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::output::is_terminal;
use super::{Failure, runtime};
use crate::demo::haproxy::ServerSeen;
use crate::demo::journal::Journal;
use crate::demo::load::{Felt, Running};
use crate::demo::scenario::{LENGTH, SERVERS, TARGET, rate};
use crate::demo::screen::{Look, Screen, Second};
use crate::demo::verdict::{Meter, Verdict};
use crate::demo::world::{World, WorldError};
use crate::report::chain;

/// Looks at servers and journal in each second: news is shown while it is new.
const LOOKS_A_SECOND: u32 = 5;

/// None: what it shows was made to be shown.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct DemoArguments {}

pub(super) fn run(_: DemoArguments) -> Result<(), Failure> {
    let look = if is_terminal() { Look::Terminal } else { Look::Plain };
    let mut screen = Screen::new(io::stdout(), look);
    runtime()?.block_on(async {
        match show(&mut screen).await? {
            Some(verdict) if verdict.is_good() => Ok(()),
            Some(_) => Err(Failure::Told),
            None => {
                screen.say("stopped; nothing is left behind").map_err(unwritten)?;
                Err(Failure::Told)
            }
        }
    })
}

/// `None` if a signal ended it; by then all processes and files are gone.
async fn show(screen: &mut Screen<Stdout>) -> Result<Option<Verdict>, Failure> {
    let mut signals =
        Signals::new().map_err(|error| Failure::Failed(format!("cannot listen for signals: {error}")))?;
    screen.begin().map_err(unwritten)?;
    let mut stage = Stage::set_up().map_err(failed)?;
    let mut looks = interval(Duration::from_secs(1) / LOOKS_A_SECOND);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stage.is_over() {
        tokio::select! {
            () = signals.stop() => return Ok(None),
            _ = looks.tick() => stage.look(screen)?,
        }
    }
    let verdict = stage.end();
    screen.end(&verdict).map_err(unwritten)?;
    Ok(Some(verdict))
}

/// All that runs during the demo. Dropped in this order: clients hang up before servers go.
struct Stage {
    with: Side,
    without: Side,
    journal: Journal,
    meter: Meter,
    started: Instant,
    seconds: u64,
}

/// A world and its clients.
struct Side {
    clients: Running,
    /// Requests that were shown already.
    shown: usize,
    world: World,
}

impl Stage {
    fn set_up() -> Result<Self, WorldError> {
        let mut with = World::start(SERVERS)?;
        let without = World::start(1)?;
        with.start_agent()?;
        let started = Instant::now();
        Ok(Self {
            journal: Journal::new(with.journal()),
            meter: Meter::new(started),
            with: Side::new(with)?,
            without: Side::new(without)?,
            started,
            seconds: 0,
        })
    }

    fn look(&mut self, screen: &mut Screen<Stdout>) -> Result<(), Failure> {
        self.with.world.check().map_err(failed)?;
        let haproxy = self.with.world.haproxy();
        let servers = haproxy
            .servers()
            .map_err(|error| Failure::Failed(format!("HAProxy does not answer: {error}")))?;
        self.meter.add(Instant::now(), &servers);
        for news in self.journal.news() {
            screen.news(&news).map_err(unwritten)?;
        }
        let elapsed = self.started.elapsed();
        if elapsed.as_secs() > self.seconds && elapsed <= LENGTH + Duration::from_secs(1) {
            self.second(screen, elapsed, &servers)?;
        }
        Ok(())
    }

    fn second(
        &mut self,
        screen: &mut Screen<Stdout>,
        elapsed: Duration,
        servers: &[ServerSeen],
    ) -> Result<(), Failure> {
        self.seconds = elapsed.as_secs();
        let second = Second {
            number: self.seconds,
            rate: rate(elapsed),
            servers,
            with: self.with.newly_felt(),
            without: self.without.newly_felt(),
        };
        screen.second(&second).map_err(unwritten)
    }

    fn is_over(&self) -> bool {
        self.with.clients.is_over() && self.without.clients.is_over()
    }

    fn end(mut self) -> Verdict {
        let lasted = self.started.elapsed();
        let stopped_well = self.with.world.stop_agent();
        Verdict {
            lasted,
            ran: self.meter.total(),
            most: self.meter.most(),
            warm_ups: self.with.world.warm_ups(),
            with: self.with.felt(),
            without: self.without.felt(),
            stopped_well,
        }
    }
}

impl Side {
    fn new(world: World) -> Result<Self, WorldError> {
        Ok(Self { clients: world.play()?, shown: 0, world })
    }

    /// What the requests felt that have ended since the last call.
    fn newly_felt(&mut self) -> Felt {
        let requests = self.clients.measured(self.shown);
        self.shown += requests.len();
        Felt::of(&requests, TARGET)
    }

    /// What all requests felt.
    fn felt(&self) -> Felt {
        Felt::of(&self.clients.measured(0), TARGET)
    }
}

/// The signals that end a program which a person watches.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

fn failed(error: WorldError) -> Failure {
    Failure::Failed(chain(&error))
}

/// A reader that has gone away ends the demo without a word.
fn unwritten(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Told,
        _ => Failure::Failed(format!("cannot write to standard output: {error}")),
    }
}
