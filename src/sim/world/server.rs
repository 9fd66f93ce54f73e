//! One server's process: what its workers do with the requests it is sent.
//!
//! It does not notice that HAProxy has given a request up: it works on it all the same.

use std::collections::VecDeque;

use rand_pcg::Pcg64;

use super::agenda::Agenda;
use super::requests::RequestId;
use crate::sim::random::lognormal;
use crate::sim::scenario::{Discipline, ServerModel};

/// A process that was off for less than this and was never stopped is still warm, seconds.
const STAYS_WARM_S: f64 = 300.0;
/// No warm-up goes on for longer, seconds.
const LONGEST_WARM_UP_S: f64 = 20.0;

/// A request on a server.
#[derive(Clone, Copy, Debug)]
struct Job {
    request: RequestId,
    service_s: f64,
}

/// When the server is to be looked at next, with the ticket to be shown then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finish {
    pub(super) at_s: f64,
    pub(super) ticket: u32,
    pub(super) request: RequestId,
}

#[derive(Debug)]
pub(super) struct Server {
    model: ServerModel,
    work: Work,
    /// Times as long as each request takes here.
    pub(super) slow: f64,
    /// It refuses connections, whatever it should do.
    pub(super) down: bool,
    /// It accepts connections from here; infinite: it was not started.
    ready_at_s: f64,
    off_since_s: f64,
    /// Requests it has begun since it was started.
    begun: u32,
    /// What does not carry the current ticket is out of date.
    ticket: u32,
    /// Seconds of work done by its workers, up to `counted_s`.
    worked_s: f64,
    counted_s: f64,
}

#[derive(Debug)]
enum Work {
    Fifo {
        busy: u32,
        waiting: VecDeque<Job>,
    },
    /// `progress` is the work each job has had since the beginning; a job ends when it reaches its own mark.
    Shared {
        jobs: Agenda<RequestId>,
        progress_s: f64,
    },
}

impl Server {
    /// A process that runs and is warm, or one that is off.
    pub(super) fn new(model: ServerModel, is_running: bool) -> Self {
        let work = match model.discipline {
            Discipline::Fifo => Work::Fifo { busy: 0, waiting: VecDeque::new() },
            Discipline::Shared => Work::Shared { jobs: Agenda::new(), progress_s: 0.0 },
        };
        Self {
            model,
            work,
            slow: 1.0,
            down: false,
            ready_at_s: if is_running { 0.0 } else { f64::INFINITY },
            off_since_s: if is_running { f64::INFINITY } else { f64::NEG_INFINITY },
            begun: if is_running { u32::MAX } else { 0 },
            ticket: 0,
            worked_s: 0.0,
            counted_s: 0.0,
        }
    }

    /// Starts it; `stretch` is what chance makes of its start delay. From when it accepts connections, seconds.
    pub(super) fn start(&mut self, now_s: f64, stretch: f64) -> f64 {
        let delay_s = self.model.start_delay_s;
        if delay_s > 0.0 || now_s - self.off_since_s >= STAYS_WARM_S {
            self.begun = 0;
        }
        self.ready_at_s = now_s + delay_s * stretch;
        self.off_since_s = f64::INFINITY;
        self.ready_at_s
    }

    /// Stops it: it accepts no more connections, and ends those it has.
    pub(super) fn stop(&mut self, now_s: f64) {
        (self.ready_at_s, self.off_since_s) = (f64::INFINITY, now_s);
    }

    /// Breaks everything off; what comes after it is cold.
    pub(super) fn crash(&mut self, now_s: f64) {
        self.count(now_s);
        self.ticket += 1;
        self.begun = 0;
        match &mut self.work {
            Work::Fifo { busy, waiting } => {
                *busy = 0;
                waiting.clear();
            }
            Work::Shared { jobs, .. } => jobs.clear(),
        }
    }

    pub(super) fn accepts(&self, now_s: f64) -> bool {
        now_s >= self.ready_at_s && !self.down
    }

    /// Takes a request that needs a worker for `service_s`, at `slower` times that for all servers.
    pub(super) fn take(
        &mut self,
        request: RequestId,
        service_s: f64,
        slower: f64,
        now_s: f64,
    ) -> Option<Finish> {
        self.count(now_s);
        let workers = self.model.workers;
        if let Work::Fifo { busy, waiting } = &mut self.work
            && *busy == workers
        {
            waiting.push_back(Job { request, service_s });
            return None;
        }
        self.begin(Job { request, service_s }, slower, now_s)
    }

    /// The request that has just been finished, and when to look again. Nothing if `finish` is out of date.
    pub(super) fn finish(
        &mut self,
        finish: Finish,
        slower: f64,
        now_s: f64,
    ) -> Option<(RequestId, Option<Finish>)> {
        if finish.ticket != self.ticket {
            return None;
        }
        self.count(now_s);
        match &mut self.work {
            Work::Fifo { busy, waiting } => {
                *busy -= 1;
                let next = waiting.pop_front();
                Some((finish.request, next.and_then(|job| self.begin(job, slower, now_s))))
            }
            Work::Shared { jobs, .. } => {
                let done = jobs.take()?;
                Some((done, self.look_again(now_s)))
            }
        }
    }

    /// Puts a worker to it, or all of them.
    fn begin(&mut self, job: Job, slower: f64, now_s: f64) -> Option<Finish> {
        let service_s = job.service_s * slower * self.slow * self.cold() * self.crowded();
        self.begun = self.begun.saturating_add(1);
        match &mut self.work {
            Work::Fifo { busy, .. } => {
                *busy += 1;
                Some(Finish { at_s: now_s + service_s, ticket: self.ticket, request: job.request })
            }
            Work::Shared { jobs, progress_s } => {
                jobs.enter(*progress_s + service_s, job.request);
                self.look_again(now_s)
            }
        }
    }

    /// Of shared cores: when the next job ends, as things are now.
    fn look_again(&mut self, now_s: f64) -> Option<Finish> {
        self.ticket += 1;
        let pace = self.pace();
        let Work::Shared { jobs, progress_s } = &self.work else { return None };
        let left_s = jobs.next_at() - progress_s;
        let at_s = now_s + left_s.max(0.0) / pace;
        left_s.is_finite().then_some(Finish { at_s, ticket: self.ticket, request: RequestId::NONE })
    }

    /// Brings the account of work done up to `now_s`.
    fn count(&mut self, now_s: f64) {
        let passed_s = now_s - self.counted_s;
        self.counted_s = now_s;
        self.worked_s += passed_s * f64::from(self.busy());
        let pace = self.pace();
        if let Work::Shared { progress_s, .. } = &mut self.work {
            *progress_s += passed_s * pace;
        }
    }

    /// Seconds of work that its workers have done up to `now_s`.
    pub(super) fn worked_s(&mut self, now_s: f64) -> f64 {
        self.count(now_s);
        self.worked_s
    }

    /// The share of a core that each request has.
    fn pace(&self) -> f64 {
        (f64::from(self.model.workers) / f64::from(self.jobs().max(1))).min(1.0)
    }

    fn busy(&self) -> u32 {
        self.jobs().min(self.model.workers)
    }

    /// Requests on it, waiting ones too.
    fn jobs(&self) -> u32 {
        let jobs = match &self.work {
            Work::Fifo { busy, waiting } => *busy as usize + waiting.len(),
            Work::Shared { jobs, .. } => jobs.len(),
        };
        u32::try_from(jobs).unwrap_or(u32::MAX)
    }

    /// So many times as long takes a request on a server that has begun so few.
    fn cold(&self) -> f64 {
        1.0 + self.model.cold_extra * (-f64::from(self.begun) / self.model.cold_over).exp()
    }

    /// So many times as long takes a request that comes to the others on it.
    fn crowded(&self) -> f64 {
        let workers = f64::from(self.model.workers);
        1.0 + self.model.thrash * (f64::from(self.jobs() + 1) / workers - 1.0).max(0.0)
    }

    /// Sends it warm-up requests, `side_by_side` at a time, before it has any others. How long that takes, seconds.
    pub(super) fn warm_up(
        &mut self,
        requests: u32,
        side_by_side: u32,
        slower: f64,
        random: &mut Pcg64,
    ) -> f64 {
        let mut free_at_s = vec![0.0_f64; side_by_side.max(1) as usize];
        for _ in 0..requests {
            let Some(first) = free_at_s.iter_mut().min_by(|a, b| a.total_cmp(b)) else { break };
            if *first >= LONGEST_WARM_UP_S {
                break;
            }
            let service_s = lognormal(random, self.model.service_s, self.model.cv);
            *first += service_s * slower * self.slow * self.cold();
            self.begun = self.begun.saturating_add(1);
        }
        free_at_s.into_iter().fold(0.0, f64::max).min(LONGEST_WARM_UP_S)
    }
}
