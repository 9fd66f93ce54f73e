//! What HAProxy cannot hold, kept in `state.json` of the state directory.
//!
//! In: the controller's [`Memory`]. Written atomically (a new file, renamed over the old), so a
//! crash leaves the old or the new one. Losing it is safe. The directory is locked as long as
//! the agent runs: two agents would undo each other's moves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::core::controller::{
    BackendMemory, Known, Memory, Operator, Order, OverrideMemory, ShownBy, Temporary,
};
use crate::core::plan::inventory::AdminState;
use crate::core::plan::supply::Placement;
use crate::core::policy::state::Direction;
use crate::core::units::Weight;

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be made.
    #[error("cannot create the state directory `{0}`; create it, or name another as `state_dir`")]
    Create(PathBuf, #[source] io::Error),
    /// It cannot be locked.
    #[error("cannot lock `{0}`; does the directory belong to the agent's user?")]
    Lock(PathBuf, #[source] io::Error),
    /// Another agent runs on it.
    #[error("another agent is running on `{}`{}; stop it, or give this one a `state_dir` of its own", .0.display(), .1.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Taken(PathBuf, Option<u32>),
    /// It cannot be written.
    #[error("cannot write `{0}`")]
    Write(PathBuf, #[source] io::Error),
}

/// The state directory, locked for this process until dropped.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: Flock<File>,
}

impl StateDir {
    /// Makes the directory if it is missing, and locks it.
    ///
    /// # Errors
    /// If it cannot be made or locked, or another agent holds it.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        fs::create_dir_all(path).map_err(|e| StateError::Create(path.to_owned(), e))?;
        let lock_path = path.join("lock");
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&lock_path);
        let file = file.map_err(|e| StateError::Lock(lock_path.clone(), e))?;
        let mut lock = lock(file, &lock_path, path)?;
        // Who has it is only told; the lock holds on a full disk too.
        let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Whether [`open`](Self::open) would get the lock of the directory at `path`, which exists. Makes nothing.
    ///
    /// # Errors
    /// As those of `open`.
    pub fn probe(path: &Path) -> Result<(), StateError> {
        let lock_path = path.join("lock");
        match File::options().read(true).write(true).open(&lock_path) {
            Ok(file) => lock(file, &lock_path, path).map(drop),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(StateError::Lock(lock_path, error)),
        }
    }

    /// What was kept; nothing if there is no file or it makes no sense (told by the caller: the second value).
    pub fn load(&self) -> (Memory, Option<String>) {
        Self::peek(&self.path)
    }

    /// [`load`](Self::load) of a directory that may be in use.
    pub fn peek(directory: &Path) -> (Memory, Option<String>) {
        let path = directory.join("state.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return (Memory::default(), None),
            Err(error) => {
                return (Memory::default(), Some(format!("cannot read `{}`: {error}", path.display())));
            }
        };
        match parse(&text, SystemTime::now()) {
            Ok(memory) => (memory, None),
            Err(error) => (Memory::default(), Some(format!("`{}` makes no sense: {error}", path.display()))),
        }
    }

    /// Keeps `memory`: after this returns, a crash finds it.
    ///
    /// # Errors
    /// If the file cannot be written; the old one is then still there.
    pub fn save(&self, memory: &Memory) -> Result<(), StateError> {
        let path = self.path.join("state.json");
        let new = self.path.join("state.json.new");
        let text = render(memory, SystemTime::now());
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            // The new name has to be on the disk too.
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|e| StateError::Write(path.clone(), e))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What the text of a state file says at `now`.
///
/// # Errors
/// It is none.
pub fn parse(text: &[u8], now: SystemTime) -> Result<Memory, serde_json::Error> {
    serde_json::from_slice::<FileMemory>(text).map(|file| file.into_memory(now))
}

/// The text of a state file that keeps `memory`, written at `now`.
pub fn render(memory: &Memory, now: SystemTime) -> Vec<u8> {
    // Maps with texts as keys: nothing in them can fail.
    serde_json::to_vec_pretty(&FileMemory::from_memory(memory, now)).unwrap_or_default()
}

/// The lock on `file`, which is the directory's lock file.
fn lock(file: File, lock_path: &Path, directory: &Path) -> Result<Flock<File>, StateError> {
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => {
            let holder = fs::read_to_string(lock_path).ok().and_then(|pid| pid.trim().parse().ok());
            StateError::Taken(directory.to_owned(), holder)
        }
        errno => StateError::Lock(lock_path.to_owned(), errno.into()),
    })
}

/// The file's shape. Times are wall-clock seconds since 1970: an `Instant` does not survive a restart.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(expecting = "a mapping with the key `backends`")]
struct FileMemory {
    backends: BTreeMap<String, FileBackend>,
    /// Which HAProxy showed all this.
    #[serde(default)]
    shown_by: Option<FileShownBy>,
}

/// A HAProxy. Without it what was known of its servers is no guide.
#[derive(Debug, Serialize, Deserialize)]
#[serde(expecting = "a mapping with the keys `pids` and `since`")]
struct FileShownBy {
    pids: Vec<Option<u32>>,
    /// By its own clock.
    started: Option<u64>,
    /// By ours.
    since: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, expecting = "a mapping with keys such as `ours`")]
struct FileBackend {
    ours: BTreeSet<String>,
    /// Servers whose start was begun.
    starting: BTreeSet<String>,
    weights: BTreeMap<String, u16>,
    /// What servers have by right, and what they had for a while.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    temporary: BTreeMap<String, FileTemporary>,
    cooldown: Option<FileCooldown>,
    /// Servers that are left alone, and until when.
    left_alone: BTreeMap<String, u64>,
    /// How each server was found last.
    known: BTreeMap<String, FileKnown>,
    order: Option<FileOrder>,
    placed: BTreeMap<String, FilePlacement>,
    /// Servers that are DOWN, and who stands in for each; `None`: fewer were enough.
    replaced: BTreeMap<String, Option<String>>,
}

/// How a server was found, and what a plan may have made of it since.
#[derive(Debug, Serialize, Deserialize)]
#[serde(expecting = "a mapping with the keys `state` and `weight`")]
struct FileKnown {
    state: FileState,
    weight: u16,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    states: Vec<FileState>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    weights: Vec<u16>,
}

/// The latest last.
#[derive(Debug, Serialize, Deserialize)]
#[serde(expecting = "a mapping with the keys `own` and `set`")]
struct FileTemporary {
    own: u16,
    set: Vec<u16>,
}

impl From<&Temporary> for FileTemporary {
    fn from(known: &Temporary) -> Self {
        Self { own: known.own.value(), set: known.set.iter().map(|weight| weight.value()).collect() }
    }
}

impl FileTemporary {
    /// `None` if its weight is none.
    fn into_memory(self) -> Option<Temporary> {
        let set = self.set.into_iter().filter_map(Weight::new).collect();
        Some(Temporary { own: Weight::new(self.own)?, set })
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FileState {
    Ready,
    Drain,
    Maint,
}

impl From<AdminState> for FileState {
    fn from(state: AdminState) -> Self {
        match state {
            AdminState::Ready => Self::Ready,
            AdminState::Drain => Self::Drain,
            AdminState::Maint => Self::Maint,
        }
    }
}

impl From<FileState> for AdminState {
    fn from(state: FileState) -> Self {
        match state {
            FileState::Ready => Self::Ready,
            FileState::Drain => Self::Drain,
            FileState::Maint => Self::Maint,
        }
    }
}

impl From<&Known> for FileKnown {
    fn from(known: &Known) -> Self {
        Self {
            state: known.state.into(),
            weight: known.weight.value(),
            states: known.states.iter().map(|&state| state.into()).collect(),
            weights: known.weights.iter().map(|weight| weight.value()).collect(),
        }
    }
}

impl FileKnown {
    /// `None` if its weight is none.
    fn into_memory(self) -> Option<Known> {
        Some(Known {
            state: self.state.into(),
            weight: Weight::new(self.weight)?,
            states: self.states.into_iter().map(AdminState::from).collect(),
            weights: self.weights.into_iter().filter_map(Weight::new).collect(),
        })
    }
}

/// Where an address of the pool was put.
#[derive(Debug, Serialize, Deserialize)]
#[serde(expecting = "a mapping with the keys `address` and `added`")]
struct FilePlacement {
    address: SocketAddr,
    added: bool,
    serving: bool,
    /// Without them, HAProxy counts as restarted.
    #[serde(default)]
    pids: Vec<Option<u32>>,
}

impl From<&Placement> for FilePlacement {
    fn from(placement: &Placement) -> Self {
        let &Placement { address, added, serving, .. } = placement;
        Self { address, added, serving, pids: placement.pids.clone() }
    }
}

impl From<FilePlacement> for Placement {
    fn from(FilePlacement { address, added, serving, pids }: FilePlacement) -> Self {
        Self { address, added, serving, pids }
    }
}

/// An operator's order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(expecting = "a mapping with the keys `by` and `since`")]
struct FileOrder {
    /// Pinned to so many; `None`: paused.
    pin: Option<u32>,
    by: String,
    uid: u32,
    since: u64,
    until: Option<u64>,
}

impl FileOrder {
    fn from_memory(kept: &OverrideMemory, now: u64) -> Self {
        Self {
            pin: match kept.order {
                Order::Pause => None,
                Order::Pin(to) => Some(to),
            },
            by: kept.by.name.clone(),
            uid: kept.by.uid,
            since: now.saturating_sub(kept.age.as_secs()),
            until: kept.left.map(|left| now.saturating_add(left.as_secs())),
        }
    }

    /// An order whose time went by while no agent ran is kept with nothing left, so that its end is told.
    fn into_memory(self, now: u64) -> OverrideMemory {
        // A clock that was set back does not make it longer than it was.
        let left =
            self.until.map(|until| until.saturating_sub(now.max(self.since)).min(LONGEST_ORDER.as_secs()));
        OverrideMemory {
            order: self.pin.map_or(Order::Pause, Order::Pin),
            by: Operator { name: self.by, uid: self.uid, pid: None },
            age: Duration::from_secs(now.saturating_sub(self.since)),
            left: left.map(Duration::from_secs),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(expecting = "a mapping with the keys `after` and `until`")]
struct FileCooldown {
    after: FileDirection,
    until: u64,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FileDirection {
    ScaleUp,
    ScaleDown,
}

impl FileMemory {
    fn from_memory(memory: &Memory, now: SystemTime) -> Self {
        let now = seconds(now);
        let backends = memory.backends.iter().map(|backend| {
            let cooldown = backend.cooldown.map(|(direction, left)| FileCooldown {
                after: match direction {
                    Direction::Up => FileDirection::ScaleUp,
                    Direction::Down => FileDirection::ScaleDown,
                },
                until: now.saturating_add(left.as_secs()),
            });
            let weights = backend.weights.iter().map(|(name, weight)| (name.clone(), weight.value()));
            let order = backend.overridden.as_ref().map(|kept| FileOrder::from_memory(kept, now));
            let until =
                |(name, left): (&String, &Duration)| (name.clone(), now.saturating_add(left.as_secs()));
            let left_alone = backend.left_alone.iter().map(until).collect();
            let (ours, starting) = (backend.ours.clone(), backend.starting.clone());
            let weights = weights.collect();
            let placed = backend.placed.iter().map(|(name, placement)| (name.clone(), placement.into()));
            let placed = placed.collect();
            let known = backend.known.iter().map(|(name, known)| (name.clone(), known.into())).collect();
            let replaced = backend.replaced.clone();
            let temporary = backend.temporary.iter().map(|(name, known)| (name.clone(), known.into()));
            let temporary = temporary.collect();
            let file = FileBackend {
                ours,
                starting,
                weights,
                temporary,
                cooldown,
                left_alone,
                known,
                order,
                placed,
                replaced,
            };
            (backend.name.clone(), file)
        });
        let shown_by = memory.shown_by.as_ref().map(|shown_by| FileShownBy {
            pids: shown_by.pids.clone(),
            started: shown_by.started,
            since: now.saturating_sub(shown_by.runs_for.as_secs()),
        });
        Self { backends: backends.collect(), shown_by }
    }

    fn into_memory(self, now: SystemTime) -> Memory {
        let now = seconds(now);
        let backends = self.backends.into_iter().map(|(name, file)| {
            let weights =
                file.weights.into_iter().filter_map(|(name, weight)| Some((name, Weight::new(weight)?)));
            let cooldown = file.cooldown.and_then(|cooldown| {
                let left = cooldown.until.saturating_sub(now).min(LONGEST_COOLDOWN.as_secs());
                let direction = match cooldown.after {
                    FileDirection::ScaleUp => Direction::Up,
                    FileDirection::ScaleDown => Direction::Down,
                };
                (left > 0).then_some((direction, Duration::from_secs(left)))
            });
            let overridden = file.order.map(|order| order.into_memory(now));
            let left =
                |until: u64| Duration::from_secs(until.saturating_sub(now).min(LONGEST_COOLDOWN.as_secs()));
            let left_alone = file.left_alone.into_iter().map(|(name, until)| (name, left(until))).collect();
            let (ours, starting, weights) = (file.ours, file.starting, weights.collect());
            let placed = file.placed.into_iter().map(|(name, placement)| (name, placement.into())).collect();
            let known = file.known.into_iter().filter_map(|(name, known)| Some((name, known.into_memory()?)));
            let known = known.collect();
            let temporary =
                file.temporary.into_iter().filter_map(|(name, known)| Some((name, known.into_memory()?)));
            let temporary = temporary.collect();
            BackendMemory {
                name,
                ours,
                starting,
                weights,
                temporary,
                cooldown,
                left_alone,
                known,
                overridden,
                placed,
                replaced: file.replaced,
            }
        });
        let shown_by = self.shown_by.map(|FileShownBy { pids, started, since }| ShownBy {
            pids,
            started,
            runs_for: Duration::from_secs(now.saturating_sub(since)),
        });
        Memory { backends: backends.collect(), shown_by }
    }
}

/// The longest that a config may ask for: a clock that was set back must not leave a cooldown of years.
const LONGEST_COOLDOWN: Duration = Duration::from_secs(24 * 3600);

/// The longest that can be asked for, so that no file makes an `Instant` overflow.
const LONGEST_ORDER: Duration = Duration::from_secs(366 * 24 * 3600);

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        let address = "10.0.0.4:80".parse().unwrap();
        let placement = Placement { address, added: false, serving: true, pids: vec![Some(4711), None] };
        let known = Known {
            state: AdminState::Drain,
            weight: Weight::new(7).unwrap(),
            states: [AdminState::Ready, AdminState::Maint].into(),
            weights: [Weight::new(100).unwrap()].into(),
        };
        let temporary =
            Temporary { own: Weight::ONE, set: vec![Weight::new(100).unwrap(), Weight::new(40).unwrap()] };
        let backend = BackendMemory {
            name: "app".into(),
            temporary: [("s1".to_owned(), temporary)].into(),
            ours: ["s2".to_owned()].into(),
            starting: ["s2".to_owned()].into(),
            weights: [("s1".to_owned(), Weight::new(100).unwrap())].into(),
            cooldown: Some((Direction::Down, Duration::from_secs(90))),
            left_alone: [("s3".to_owned(), Duration::from_secs(60))].into(),
            known: [("s1".to_owned(), known)].into(),
            overridden: None,
            placed: [("s3".to_owned(), placement)].into(),
            replaced: [("s4".to_owned(), Some("s3".to_owned())), ("s5".to_owned(), None)].into(),
        };
        let shown_by =
            ShownBy { pids: vec![Some(4711)], started: Some(99), runs_for: Duration::from_secs(60) };
        Memory { backends: vec![backend], shown_by: Some(shown_by) }
    }

    #[test]
    fn what_was_kept_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        state.save(&memory()).unwrap();
        drop(state);
        let (mut loaded, told) = StateDir::open(folder.path()).unwrap().load();
        assert_eq!(told, None);
        let left = loaded.backends[0].cooldown.take().unwrap().1;
        assert!(left > Duration::from_secs(80) && left <= Duration::from_secs(90), "{left:?}");
        let mut kept = memory();
        kept.backends[0].cooldown = None;
        assert_eq!(loaded, kept);
    }

    #[track_caller]
    fn check_order(json: &str, now: u64, expected: OverrideMemory) {
        let order: FileOrder = serde_json::from_str(json).unwrap();
        assert_eq!(order.into_memory(now), expected);
    }

    fn order(order: Order, age: u64, left: Option<u64>) -> OverrideMemory {
        let by = Operator { name: "kim".into(), uid: 1000, pid: None };
        OverrideMemory { order, by, age: Duration::from_secs(age), left: left.map(Duration::from_secs) }
    }

    #[test]
    fn an_operators_order_is_there_after_a_restart_with_the_time_that_is_left() {
        for kept in [order(Order::Pause, 7, None), order(Order::Pin(6), 7, Some(5))] {
            let file = serde_json::to_string(&FileOrder::from_memory(&kept, 1000)).unwrap();
            check_order(&file, 1000, kept);
        }
        let pause = r#"{"by": "kim", "uid": 1000, "since": 1000, "until": 1060}"#;
        check_order(pause, 1010, order(Order::Pause, 10, Some(50)));
        check_order(pause, 9000, order(Order::Pause, 8000, Some(0)));
        check_order(pause, 10, order(Order::Pause, 0, Some(60)));
    }

    #[test]
    fn a_second_agent_on_the_same_directory_is_refused_and_told_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let _first = StateDir::open(folder.path()).unwrap();
        let refused = StateDir::open(folder.path()).unwrap_err().to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
    }

    #[test]
    fn a_file_that_makes_no_sense_is_told_and_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        for text in ["", "[]", "{\"backends\": {\"app\": {\"weights\": {\"s1\": -4}}}}"] {
            fs::write(folder.path().join("state.json"), text).unwrap();
            let (memory, told) = state.load();
            assert_eq!(memory, Memory::default());
            assert!(told.unwrap().contains("state.json"));
        }
    }

    #[test]
    fn a_clock_set_back_does_not_make_a_cooldown_of_years() {
        let text = r#"{"backends": {"app": {"cooldown": {"after": "scale_up", "until": 99999999999}}}}"#;
        let file: FileMemory = serde_json::from_str(text).unwrap();
        let memory = file.into_memory(SystemTime::now());
        assert_eq!(memory.backends[0].cooldown, Some((Direction::Up, LONGEST_COOLDOWN)));
    }
}
