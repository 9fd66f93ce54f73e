//! [`Decision`](super::policy::decision::Decision) and inventory to [`Plan`](step::Plan).

pub mod inventory;
pub mod outcome;
pub mod step;
