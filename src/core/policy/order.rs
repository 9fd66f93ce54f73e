//! What an operator has ordered, as the reason of a decision.

use std::fmt::{Display, Formatter, Result};
use std::time::Duration;

use super::decision::Reason;
use super::sentence::Span;

/// What an operator wants, and what comes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ordered {
    /// What is wanted.
    pub what: What,
    /// Until it ends by itself; `None`: it does not.
    pub left: Option<Duration>,
    /// Who wants it.
    pub by: String,
}

/// What can be wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// No moves.
    Paused,
    /// So many serving servers.
    Pinned {
        /// So many were asked for.
        asked: u32,
        /// So many it takes, because fewer are not allowed.
        to: u32,
        /// Why there are others now.
        but: Option<Box<Reason>>,
    },
}

impl Ordered {
    /// Other servers serve than are wanted, and this is why.
    #[must_use]
    pub fn but(mut self, why: Reason) -> Self {
        if let What::Pinned { but, .. } = &mut self.what {
            *but = Some(Box::new(why));
        }
        self
    }

    /// One snake_case word for each kind.
    pub(super) fn key(&self) -> &'static str {
        match self.what {
            What::Paused => "paused",
            What::Pinned { .. } if self.limited() => "pin_limited",
            What::Pinned { .. } => "pinned",
        }
    }

    /// More than patience is needed to do what is wanted.
    pub(super) fn limited(&self) -> bool {
        matches!(&self.what, What::Pinned { but: Some(but), .. } if but.limited())
    }
}

impl Display for Ordered {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.what {
            What::Paused => f.write_str("paused")?,
            What::Pinned { asked, .. } => write!(f, "pinned to {asked}")?,
        }
        if let Some(left) = self.left {
            write!(f, " for another {}", Span(left))?;
        }
        write!(f, " by {}", self.by)?;
        let What::Pinned { asked, to, but } = &self.what else { return Ok(()) };
        if asked != to {
            write!(f, ", but {to} is the fewest allowed")?;
        }
        but.as_ref().map_or(Ok(()), |but| write!(f, "; {but}"))
    }
}
