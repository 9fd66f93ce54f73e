//! What haproxy.cfg should say, from what it says and how the servers stand. Nothing is written here.

use super::block::{self, BlockError};
use super::declared::Declared;
use super::template::{self, TemplateError};
use crate::core::controller::BackendStanding;

/// The text of haproxy.cfg with its blocks edited.
#[derive(Debug)]
pub(crate) struct Blocks {
    /// The whole text.
    pub(crate) text: Vec<u8>,
    /// Servers without a line in their block, with their backends.
    pub(crate) without_line: Vec<String>,
    /// A block that is not as it has to be; the others are edited all the same.
    pub(crate) wrong: Option<BlockError>,
}

/// `old` with the blocks of all backends as `standing` says. Servers that stand as in `kept` are left as they are.
pub(crate) fn blocks(old: &[u8], standing: &[BackendStanding], kept: Option<&[BackendStanding]>) -> Blocks {
    let mut blocks = Blocks { text: old.to_vec(), without_line: Vec::new(), wrong: None };
    for backend in standing {
        let kept = kept.into_iter().flatten().find(|kept| kept.backend == backend.backend);
        match block::edit(&blocks.text, backend, kept) {
            Ok(edited) => {
                blocks.text = edited.text;
                let name = |server| format!("{}/{server}", backend.backend);
                blocks.without_line.extend(edited.without_line.into_iter().map(name));
            }
            Err(error) => blocks.wrong = Some(error),
        }
    }
    blocks
}

/// All of haproxy.cfg, which is `old`, from `template`.
///
/// # Errors
/// The template is wrong, or a server cannot be written down.
pub(crate) fn whole(
    template: &str,
    old: Option<&[u8]>,
    standing: &[BackendStanding],
) -> Result<Vec<u8>, TemplateError> {
    let present = Declared::read(old.unwrap_or_default());
    template::render(template, standing, &present).map(String::into_bytes)
}
