//! Plays every column, over threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use super::PoolArguments;
use super::site::Column;
use crate::cli::Failure;
use crate::cli::progress::{PATIENCE, Progress};
use crate::report::chain;
use crate::sim::replay::history::History;
use crate::sim::replay::play::{MODELLED, Pool, Who, actual, names, play};
use crate::sim::replay::recorder::Grid;
use crate::sim::replay::workload::{Given, Workload};
use crate::sim::replay::{Replay, Track, notes};

/// What came of `history`, and what would have come of it for each of `columns`.
pub(super) fn replay(
    history: &History,
    columns: &[Column],
    arguments: &PoolArguments,
    threads: usize,
) -> Result<Replay, Failure> {
    // There is a column, even if it is the usual one.
    let Some(target) = columns.first().map(|column| column.target) else {
        return Err(Failure::Usage("no policy is named".to_owned()));
    };
    let given = Given { workers: arguments.workers, maxconn: arguments.maxconn };
    let workload = Workload::of(history, &target, given).map_err(|error| Failure::Failed(chain(&error)))?;
    let pool = Pool {
        servers: arguments.servers.map(usize::from),
        start_delay_s: arguments.start_delay.as_secs_f64(),
        cold_start: arguments.cold_start,
        balance: arguments.balance,
        ..Pool::default()
    };
    let check = Column {
        name: MODELLED.to_owned(),
        about: "the servers that were active, in the model".to_owned(),
        who: Who::AsItWas,
        target,
    };
    let all: Vec<&Column> = [&check].into_iter().chain(columns).collect();
    let mut tracks = play_all(&all, threads, |column| {
        play(&workload, &pool, &target, &column.who, &column.name, &column.about)
    })
    .into_iter();
    let check = tracks.next().unwrap_or_default();
    let actual = actual(history, &workload, &target);
    let mut replay = Replay {
        backend: workload.backend.clone(),
        target,
        begins: workload.begins,
        length_s: workload.length_s,
        step_s: Grid::new(workload.length_s).step_s,
        servers: names(&workload, &pool),
        learned: workload.learned,
        actual,
        check,
        policies: tracks.collect(),
        notes: Vec::new(),
    };
    replay.notes = notes::notes(&replay, history, &pool);
    Ok(replay)
}

/// In the order of `columns`, whoever was ready first.
fn play_all(columns: &[&Column], threads: usize, play: impl Fn(&Column) -> Track + Sync) -> Vec<Track> {
    let next = AtomicUsize::new(0);
    let mut progress = Progress::of_runs(columns.len());
    let mut tracks: Vec<Option<Track>> = columns.iter().map(|_| None).collect();
    thread::scope(|scope| {
        let (sender, played) = mpsc::channel();
        for _ in 0..threads.min(columns.len()) {
            let (sender, next, play) = (sender.clone(), &next, &play);
            scope.spawn(move || {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(column) = columns.get(place) else { break };
                    // The receiver outlives all threads.
                    let _ = sender.send((place, play(column)));
                }
            });
        }
        drop(sender);
        loop {
            match played.recv_timeout(PATIENCE) {
                Ok((place, track)) => {
                    tracks[place] = Some(track);
                    progress.done().fetch_add(1, Ordering::Relaxed);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            progress.show();
        }
    });
    tracks.into_iter().flatten().collect()
}
