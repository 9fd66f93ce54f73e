//! Slots that HAProxy does not have yet: written down with all else, and left out for a while where that fails.

use std::borrow::Cow;

use super::{KeepError, Keeper, Pause, Sight};
use crate::core::controller::BackendStanding;
use crate::lasting::event::Event;
use crate::lasting::{slots, state};
use crate::report::chain;

impl Keeper {
    /// What is to be written down now: without new slots where those could not be added a while ago.
    pub(super) fn wanted<'a>(&self, sight: &'a Sight) -> Option<Cow<'a, [BackendStanding]>> {
        let standing = sight.standing.as_deref()?;
        let is_held = self.not_grown.is_some_and(|pause| !pause.is_over());
        Some(if is_held { Cow::Owned(slots::without(standing)) } else { Cow::Borrowed(standing) })
    }

    /// Writes `standing` without its new slots, with which it could not be written, as `error` says. If that can be
    /// written, they are what is wrong.
    pub(super) async fn keep_without(
        &mut self,
        sight: &Sight,
        standing: &[BackendStanding],
        error: KeepError,
    ) -> Result<Vec<BackendStanding>, KeepError> {
        let without = slots::without(standing);
        self.write(sight, &without).await?;
        let pause = Pause::after(self.not_grown);
        self.hold_growth(standing, pause, chain(&error), error.refused().cloned()).await;
        Ok(without)
    }

    /// Leaves the new slots of `standing` out until `pause` is over.
    pub(super) async fn hold_growth(
        &mut self,
        standing: &[BackendStanding],
        pause: Pause,
        error: String,
        refused: Option<crate::lasting::event::Refused>,
    ) {
        self.not_grown = Some(pause);
        let slots = slots::names(standing);
        self.tell(Event::SlotsNotAdded { slots, error, refused, retry: pause.length }).await;
    }

    /// The HAProxy that runs does not have all the slots that are to come. One that is away gets them when it starts.
    pub(super) async fn lacks_slots(&self, standing: &[BackendStanding]) -> bool {
        let to_come: Vec<(&str, &str)> = slots::to_come(standing)
            .map(|(backend, server)| (backend.backend.as_str(), server.server.as_str()))
            .collect();
        !to_come.is_empty() && matches!(state::has_all(&self.client, &to_come).await, Ok(false))
    }

    /// No more slots are asked for: that some could not be added is over.
    pub(super) async fn end_growth(&mut self, sight: &Sight) {
        let standing = sight.standing.as_deref().unwrap_or_default();
        if self.not_grown.is_some() && slots::to_come(standing).next().is_none() {
            self.not_grown = None;
            self.tell(Event::SlotsAdded(Vec::new())).await;
        }
    }
}
