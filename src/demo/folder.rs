//! A folder of our own that is gone afterwards.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A new empty folder that only this user can enter; dropping it removes it with all that is in it.
#[derive(Debug)]
pub struct TempFolder(PathBuf);

impl TempFolder {
    /// In the system's folder for temporary files, with `name` in its name.
    ///
    /// # Errors
    /// It cannot be made there.
    pub fn create(name: &str) -> io::Result<Self> {
        static CREATED: AtomicU32 = AtomicU32::new(0);
        let unique = format!("{name}-{}-{}", std::process::id(), CREATED.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(unique);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_gone_with_its_content() {
        let (one, other) = (TempFolder::create("test").unwrap(), TempFolder::create("test").unwrap());
        assert_ne!(one.path(), other.path());
        fs::write(one.path().join("file"), "content").unwrap();
        let path = one.path().to_owned();
        drop(one);
        assert!(!path.exists() && other.path().exists());
    }
}
