//! A ring of HAProxy's, read over the Runtime API: `show events <ring> -w` (HAProxy 2.2 and newer). It
//! needs `level operator` on the stats socket and no right to any file.
//!
//! ```text
//!            first: what is in the ring already is only remembered
//!  wait ──▶ seed ──▶ follow ──▶ lines ──▶ ended: follow again, behind the last line read
//!   ▲                   │ a look every second: another process answers, HAProxy was reloaded
//!   └─ cannot connect   ├──▶ follow the new one, all that is in its ring
//!                       └──▶ the old one, until it has nothing more to say
//! ```
//! Seen on HAProxy 2.6.12: a connection ends after `stats timeout` of silence unless `set timeout cli` says
//! otherwise; a process that was reloaded stays as long as somebody reads from it; a reader that is too slow
//! makes the ring lose new lines, and it says how many.

mod conversation;
mod lines;
mod overlap;

use std::io;
use std::time::{Duration, Instant};

use nix::poll::PollFd;

use self::conversation::{Conversation, Heard, Process};
use self::lines::{Lines, Notes};
use self::overlap::History;
use super::backoff::Backoff;
use super::link::{LinkEvent, Losses};
use super::turn::{Input, Rest, Turn, soonest};
use crate::haproxy::address::Address;

/// Pauses before HAProxy is tried again. A ring keeps few lines: come back soon.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));

/// How often it is looked whether HAProxy is still the same process.
const LOOK: Duration = Duration::from_secs(1);

/// A process that was reloaded is left when it has said nothing for so long: only we keep it.
const OLD_QUIET: Duration = Duration::from_secs(5);

/// And after so long in any case: it must not stay because of us. Its last long connections are not counted.
const OLD_LONGEST: Duration = Duration::from_secs(60);

/// Reloads in quick succession: those before are left.
const MOST_OLD: usize = 4;

/// One ring.
pub(super) struct Ring {
    name: String,
    address: Address,
    begun: Instant,
    /// What is in the ring is read, or the place where to begin is known.
    is_seeded: bool,
    /// It could not be reached at some time.
    was_absent: bool,
    current: Option<Talk>,
    /// Processes that were reloaded and may still say something.
    old: Vec<Talk>,
    look: Option<Conversation>,
    next_look: Instant,
    /// Where the last connection stood.
    last: Option<(Process, History)>,
    backoff: Backoff,
    losses: Losses,
    told: Option<LinkEvent>,
    announced: Option<Process>,
    out: Vec<u8>,
}

/// A connection and what it says.
struct Talk {
    conversation: Conversation,
    lines: Lines,
    /// Its lines are remembered and not handed over.
    is_seed: bool,
    is_announced: bool,
    is_refused: bool,
    heard: Instant,
    /// Since when it is an old one.
    since: Instant,
}

impl Ring {
    /// Reads what comes from now on into the ring `name` at `address`, or all that is in it as well.
    pub(super) fn new(name: String, address: Address, from_start: bool) -> Self {
        let now = Instant::now();
        let mut ring = Self {
            name,
            address,
            begun: now,
            is_seeded: from_start,
            was_absent: false,
            current: None,
            old: Vec::new(),
            look: None,
            next_look: now,
            last: None,
            backoff: PAUSES,
            losses: Losses::default(),
            told: None,
            announced: None,
            out: Vec::new(),
        };
        // If it cannot be reached, the first turn tries again, and tells.
        ring.current = ring.connect(now).ok();
        ring
    }

    fn connect(&mut self, now: Instant) -> io::Result<Talk> {
        let question = match self.is_seeded {
            true => format!("set timeout cli 1h;show info;show events {} -w", self.name),
            false => format!("show info;show events {}", self.name),
        };
        let conversation = Conversation::begin(&self.address, &question, now)?;
        let not_of = self.old.iter().filter_map(|talk| talk.conversation.process()).collect();
        let lines = Lines::new(self.last.clone(), not_of);
        let is_seed = !self.is_seeded;
        Ok(Talk {
            conversation,
            lines,
            is_seed,
            is_announced: false,
            is_refused: false,
            heard: now,
            since: now,
        })
    }

    fn follow(&mut self, turn: &mut Turn, now: Instant) -> Rest {
        if self.current.is_none() && self.backoff.is_due(now) {
            match self.connect(now) {
                Ok(talk) => self.current = Some(talk),
                Err(error) => self.fail(LinkEvent::Absent(error.kind()), turn, now),
            }
        }
        let Some(mut talk) = self.current.take() else { return Rest::Nothing };
        let end = self.hear(&mut talk, turn, now);
        if let Some(process) = talk.conversation.process()
            && matches!(end, Heard::More | Heard::Nothing)
            && !(talk.is_seed || talk.is_refused || talk.is_announced)
        {
            talk.is_announced = true;
            self.announce(process, turn);
        }
        match end {
            Heard::More => {
                self.current = Some(talk);
                return Rest::More;
            }
            Heard::Nothing => self.current = Some(talk),
            Heard::End => self.end(talk, None, turn, now),
            Heard::Failed(kind) => self.end(talk, Some(kind), turn, now),
        }
        Rest::Nothing
    }

    /// Takes in what `talk` has to say for now and hands it over. Returns how it ended; `More` if the
    /// turn is over.
    fn hear(&mut self, talk: &mut Talk, turn: &mut Turn, now: Instant) -> Heard {
        loop {
            if turn.is_over() {
                return Heard::More;
            }
            let Talk { conversation, lines, .. } = talk;
            let out = &mut self.out;
            out.clear();
            let heard =
                conversation.step(turn.block, now, |process, line| lines.take(process, line, now, out));
            lines.look(now, out);
            if !talk.is_seed {
                turn.hand_over_copy(&self.out);
            }
            let notes = talk.lines.notes();
            talk.is_refused |= notes.refusal.is_some();
            self.note(notes, talk.is_seed, turn, now);
            match heard {
                Heard::More => talk.heard = now,
                end => return end,
            }
        }
    }

    fn note(&mut self, notes: Notes, is_seed: bool, turn: &mut Turn, now: Instant) {
        if !is_seed {
            self.losses.add(notes.lost);
            turn.lost(notes.lost);
        }
        if notes.is_gap {
            turn.event(LinkEvent::Gap.into());
        }
        if notes.is_stopping {
            self.next_look = now;
        }
        if let Some(refusal) = notes.refusal {
            self.tell(LinkEvent::Refused(refusal), turn);
        }
    }

    /// Tells that there is a connection, where that is news.
    fn announce(&mut self, process: Process, turn: &mut Turn) {
        let pid = process.pid;
        let before = self.announced.replace(process);
        let is_other = before.is_some_and(|before| !process.continues(&before));
        let event = if is_other { LinkEvent::Reloaded { pid } } else { LinkEvent::Connected { pid } };
        // A connection that ended in between, to the same process, is none of an operator's business.
        if is_other || !matches!(self.told, Some(LinkEvent::Connected { .. } | LinkEvent::Reloaded { .. })) {
            self.tell(event, turn);
        }
    }

    fn end(&mut self, talk: Talk, failure: Option<io::ErrorKind>, turn: &mut Turn, now: Instant) {
        let Talk { conversation, lines, is_seed, is_refused, since, .. } = talk;
        self.out.clear();
        let (history, notes) = lines.end(&mut self.out);
        if !is_seed {
            turn.hand_over_copy(&self.out);
        }
        self.note(notes, is_seed, turn, now);
        let Some(process) = conversation.process() else {
            let kind = failure.unwrap_or(io::ErrorKind::UnexpectedEof);
            return self.fail(LinkEvent::Absent(kind), turn, now);
        };
        if is_refused {
            return self.backoff.failed(now);
        }
        if is_seed {
            self.is_seeded = true;
            // If it came after us, nothing in its ring is old.
            self.last = (!self.came_later(process)).then_some((process, history));
            self.backoff.worked();
        } else {
            // Without a line the place is still that of the connection before.
            if !history.is_empty() || self.last.as_ref().is_none_or(|(last, _)| !process.continues(last)) {
                self.last = Some((process, history));
            }
            self.backoff.worked();
            if now.saturating_duration_since(since) < LOOK {
                self.backoff.failed(now);
            }
        }
    }

    /// The process began after us, as far as whole seconds tell; in doubt, that it was absent decides.
    fn came_later(&self, process: Process) -> bool {
        let ours = process.at.saturating_duration_since(self.begun);
        let second = Duration::from_secs(1);
        if self.was_absent { process.uptime <= ours + second } else { process.uptime + second < ours }
    }

    fn fail(&mut self, event: LinkEvent, turn: &mut Turn, now: Instant) {
        self.backoff.failed(now);
        self.was_absent = true;
        self.tell(event, turn);
    }

    /// Tells what has not just been told.
    fn tell(&mut self, event: LinkEvent, turn: &mut Turn) {
        if self.told.as_ref() != Some(&event) {
            self.told = Some(event.clone());
            turn.event(event.into());
        }
    }

    /// Looks who answers. If it is another process than the one we read from, that one is an old one.
    fn look_who_answers(&mut self, turn: &mut Turn, now: Instant) {
        let current = self.current.as_ref().filter(|talk| !talk.is_seed);
        let Some(process) = current.and_then(|talk| talk.conversation.process()) else { return };
        if self.look.is_none() && now >= self.next_look {
            self.next_look = now + LOOK;
            // If it cannot be reached, it may be on its way up: we still have the one we read from.
            self.look = Conversation::begin(&self.address, "show info", now).ok();
        }
        let Some(look) = &mut self.look else { return };
        let ended = loop {
            match look.step(turn.block, now, |_, _| {}) {
                Heard::More if look.process().is_none() => {}
                Heard::Nothing => break false,
                Heard::More | Heard::End | Heard::Failed(_) => break true,
            }
        };
        let answers = look.process();
        if ended {
            self.look = None;
        }
        if answers.is_some_and(|answers| !answers.continues(&process)) {
            self.look = None;
            self.leave_current(now);
        }
    }

    fn leave_current(&mut self, now: Instant) {
        if let Some(mut talk) = self.current.take() {
            (talk.since, talk.heard) = (now, now);
            self.old.push(talk);
        }
        if self.old.len() > MOST_OLD {
            self.old.remove(0);
        }
        self.last = None;
        self.backoff.worked();
    }

    fn hear_old(&mut self, turn: &mut Turn, now: Instant) -> Rest {
        let mut rest = Rest::Nothing;
        for mut talk in std::mem::take(&mut self.old) {
            match self.hear(&mut talk, turn, now) {
                Heard::More => {
                    rest = Rest::More;
                    self.old.push(talk);
                }
                Heard::Nothing if !talk.left(now).is_zero() => self.old.push(talk),
                _ => {
                    self.out.clear();
                    let (_, notes) = talk.lines.end(&mut self.out);
                    turn.hand_over_copy(&self.out);
                    self.note(notes, false, turn, now);
                }
            }
        }
        rest
    }
}

impl Talk {
    /// How long it is still heard, as an old one.
    fn left(&self, now: Instant) -> Duration {
        let end = (self.heard + OLD_QUIET).min(self.since + OLD_LONGEST);
        end.saturating_duration_since(now)
    }
}

/// What is read of a ring's answer that comes in these chunks, and how many lines HAProxy says it lost.
#[cfg(feature = "fuzzing")]
pub fn read_ring<'a>(chunks: impl IntoIterator<Item = &'a [u8]>, now: Instant) -> (Vec<u8>, u64) {
    let (mut answer, mut lines, mut out) = (conversation::Answer::default(), Lines::default(), Vec::new());
    for chunk in chunks {
        answer.take(chunk, now, |process, line| lines.take(process, line, now, &mut out));
    }
    let (_, notes) = lines.end(&mut out);
    (out, notes.lost)
}

impl Input for Ring {
    fn turn(&mut self, turn: &mut Turn) -> Rest {
        let now = Instant::now();
        let old = self.hear_old(turn, now);
        let rest = self.follow(turn, now);
        self.look_who_answers(turn, now);
        if let Some(event) = self.losses.due(now) {
            turn.event(event.into());
        }
        if rest == Rest::More || old == Rest::More { Rest::More } else { Rest::Nothing }
    }

    fn wait_on<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        let talks = self.current.iter().chain(&self.old).map(|talk| &talk.conversation);
        fds.extend(talks.chain(&self.look).filter_map(Conversation::fd));
    }

    fn next_look(&self, now: Instant) -> Option<Duration> {
        let next = match &self.current {
            None => Some(self.backoff.time_left(now)),
            Some(talk) if talk.conversation.process().is_some() && self.look.is_none() => {
                Some(self.next_look.saturating_duration_since(now))
            }
            Some(_) => None,
        };
        let of_current = self
            .current
            .iter()
            .chain(&self.old)
            .map(|talk| soonest(talk.conversation.next_look(now), talk.lines.next_look(now)));
        let of_old = self.old.iter().map(|talk| Some(talk.left(now)));
        let looks = of_current.chain(of_old).fold(next, soonest);
        let look = self.look.as_ref().and_then(|look| look.next_look(now));
        soonest(looks, soonest(look, self.losses.next_tell(now)))
    }
}
