//! Autoscalers to compare with.
