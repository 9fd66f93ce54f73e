//! A file is replaced as a whole or not at all.
//!
//! The new text is written beside it and brought to the disk before it takes the name; mode and owner stay. A full disk, a
//! crash or a reader in between find the old file or the new one. The old one can be kept as a backup.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// For a file that was not there. HAProxy reads it, which may be another user; it tells no secrets.
const MODE: u32 = 0o644;

/// Why a file was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Not even read.
    #[error("cannot read `{0}`")]
    Read(PathBuf, #[source] io::Error),
    /// Full disk, no rights.
    #[error("cannot write `{0}`")]
    Write(PathBuf, #[source] io::Error),
    /// The new file would belong to somebody else.
    #[error("cannot keep owner and group of `{0}`; let it belong to the agent's user and group")]
    Owner(PathBuf, #[source] io::Error),
    /// Somebody has written to it since it was read.
    #[error("`{0}` was changed by somebody else meanwhile")]
    Changed(PathBuf),
}

/// What becomes of the backup when a file is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backup {
    /// The file as it was before.
    Anew,
    /// The one that is there: it is of more use than the file as it was before.
    AsItIs,
}

/// A new text beside the file it is for; removed when dropped before it is installed.
#[derive(Debug)]
pub(super) struct Staged {
    /// The file itself, behind all symlinks.
    target: PathBuf,
    new: PathBuf,
}

/// The bytes of the file at `path`.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|source| FileError::Read(path.to_owned(), source))
}

impl Staged {
    /// Writes `text` beside `path`.
    ///
    /// # Errors
    /// It cannot be written, or would not belong to whom the file belongs. The file is then as it was.
    pub(super) fn write(path: &Path, text: &[u8]) -> Result<Self, FileError> {
        // A rename would replace a symlink by the file.
        let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let present = match fs::metadata(&target) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(FileError::Read(target, error)),
        };
        let staged = Self { new: beside(&target, "new"), target };
        let failed = |source| FileError::Write(staged.new.clone(), source);
        match fs::remove_file(&staged.new) {
            // Left by an agent that was killed.
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        // Never through a link that somebody else has put there.
        let mut file = File::options().write(true).create_new(true).open(&staged.new).map_err(failed)?;
        staged.keep_owner(&file, present.as_ref())?;
        file.write_all(text).and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(staged)
    }

    fn keep_owner(&self, file: &File, present: Option<&Metadata>) -> Result<(), FileError> {
        let failed = |source| FileError::Write(self.new.clone(), source);
        let own = file.metadata().map_err(failed)?;
        if let Some(present) = present
            && (present.uid(), present.gid()) != (own.uid(), own.gid())
        {
            let kept = fchown(file, Some(present.uid()), Some(present.gid()));
            kept.map_err(|source| FileError::Owner(self.target.clone(), source))?;
        }
        let mode = present.map_or(MODE, |present| present.mode() & 0o7777);
        file.set_permissions(Permissions::from_mode(mode)).map_err(failed)
    }

    /// Where the new text is until it is installed.
    pub(super) fn path(&self) -> &Path {
        &self.new
    }

    /// Puts it in the place of the file, whose text has to be `old` still, and may keep that as the backup.
    ///
    /// # Errors
    /// The file is then as it was.
    pub(super) fn install_over(self, old: &[u8], keep: Backup) -> Result<(), FileError> {
        if read(&self.target)? != old {
            return Err(FileError::Changed(self.target.clone()));
        }
        if keep == Backup::AsItIs {
            return self.install();
        }
        let (link, backup) = (beside(&self.target, "bak.new"), backup(&self.target));
        let _ = fs::remove_file(&link);
        let kept = fs::hard_link(&self.target, &link).and_then(|()| fs::rename(&link, &backup));
        kept.map_err(|source| FileError::Write(backup.clone(), source))?;
        self.install()
    }

    /// Puts it in the place of the file.
    ///
    /// # Errors
    /// The file is then as it was.
    pub(super) fn install(self) -> Result<(), FileError> {
        let folder = self.target.parent().unwrap_or(Path::new("/"));
        let installed = fs::rename(&self.new, &self.target);
        // The new name has to be on the disk too.
        let installed = installed.and_then(|()| File::open(folder)?.sync_all());
        installed.map_err(|source| FileError::Write(self.target.clone(), source))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Installed, it is not there any more.
        let _ = fs::remove_file(&self.new);
    }
}

/// Puts the backup of `path` back into its place.
///
/// # Errors
/// There is none, or it cannot be moved.
pub(super) fn take_back(path: &Path) -> Result<(), FileError> {
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let back = fs::rename(backup(&target), &target);
    let back = back.and_then(|()| File::open(target.parent().unwrap_or(Path::new("/")))?.sync_all());
    back.map_err(|source| FileError::Write(target, source))
}

/// Where the file at `path` is kept as it was before.
pub(super) fn backup(path: &Path) -> PathBuf {
    beside(path, "bak")
}

/// HAProxy loads only `*.cfg` of a folder that it is started with, so nothing of ours by chance.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    fn folder_with(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("haproxy.cfg");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_old_file_is_kept_as_a_backup_and_can_be_taken_back() {
        let (folder, path) = folder_with("old");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        Staged::write(&path, b"new").unwrap().install_over(b"old", Backup::Anew).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(fs::read(backup(&path)).unwrap(), b"old");
        Staged::write(&path, b"newer").unwrap().install_over(b"new", Backup::AsItIs).unwrap();
        assert_eq!(fs::read(backup(&path)).unwrap(), b"old");
        take_back(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["haproxy.cfg"]);
    }

    #[test]
    fn the_file_behind_a_symlink_is_replaced_and_the_link_stays() {
        let (folder, path) = folder_with("old");
        let link = folder.path().join("link.cfg");
        symlink(&path, &link).unwrap();
        Staged::write(&link, b"new").unwrap().install_over(b"old", Backup::Anew).unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn what_somebody_else_has_written_meanwhile_is_not_overwritten() {
        let (folder, path) = folder_with("theirs");
        let error = Staged::write(&path, b"new").unwrap().install_over(b"old", Backup::Anew).unwrap_err();
        assert!(error.to_string().ends_with("was changed by somebody else meanwhile"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
        assert_eq!(names(folder.path()), ["haproxy.cfg"]);
    }

    #[test]
    fn a_link_where_the_new_text_would_go_is_not_followed() {
        let (folder, path) = folder_with("old");
        let victim = folder.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, folder.path().join("haproxy.cfg.new")).unwrap();
        Staged::write(&path, b"new").unwrap().install().unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), fs::read(&victim).unwrap()),
            (b"new".to_vec(), b"precious".to_vec())
        );
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    fn a_full_disk_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let this = std::env::current_exe().unwrap();
        // A disk of 16 KiB, in a namespace of its own.
        let script = "mount -t tmpfs -o size=16k tmpfs \"$1\" && exec \"$2\" --ignored --exact lasting::file::tests::on_a_full_disk";
        let mut command = Command::new("unshare");
        command.args(["-Urm", "sh", "-c", script, "sh"]).arg(folder.path()).arg(this);
        let output = command.env("FULL_DISK", folder.path()).output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        if !said.contains("running 1 test") {
            return eprintln!("skipped: no disk of our own can be mounted here: {said}");
        }
        assert!(output.status.success(), "{said}");
    }

    #[test]
    #[ignore = "run by the test above, on a disk of its own"]
    fn on_a_full_disk() {
        let Some(folder) = std::env::var_os("FULL_DISK") else { return };
        let path = Path::new(&folder).join("haproxy.cfg");
        fs::write(&path, "old").unwrap();
        let error = Staged::write(&path, &[b'x'; 64 * 1024]).unwrap_err();
        assert!(
            matches!(&error, FileError::Write(_, source) if source.kind() == io::ErrorKind::StorageFull),
            "{error:?}"
        );
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(Path::new(&folder)), ["haproxy.cfg"]);
    }
}
