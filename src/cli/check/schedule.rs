//! Floors and ceilings by the clock: which ones hold now, and by which clock.

use jiff::Zoned;
use jiff::tz::TimeZone;

use super::Finding;
use crate::core::settings::BackendSettings;
use crate::core::settings::schedule::CivilTime;
use crate::telemetry::explain::range;
use crate::telemetry::words::civil_words;

/// What the schedule of a backend says now; nothing if it has none.
pub(super) fn check(settings: &BackendSettings) -> Option<Finding> {
    if settings.schedule.entries.is_empty() {
        return None;
    }
    let about = format!("backend {}", settings.name);
    let zone = match TimeZone::try_system() {
        Ok(zone) => zone,
        Err(error) => {
            let remedy = "set it: `timedatectl set-timezone Europe/Berlin`, or TZ in the agent's environment";
            let found =
                format!("the time zone of this machine is not known ({error}): `ready.schedule` goes by UTC");
            return Some(Finding::warn(&about, found, remedy));
        }
    };
    let now = Zoned::now().with_time_zone(zone);
    let local = CivilTime::new(now.timestamp().as_second() + i64::from(now.offset().seconds()));
    let (limits, entry) = settings.schedule.limits_at(settings.ready, local);
    let entry = entry.map(|entry| format!(" ({})", entry.at.words())).unwrap_or_default();
    let zone = now.time_zone().iana_name().map_or_else(|| format!("UTC{}", now.offset()), str::to_owned);
    let mut found = format!("now, {} in {zone}, {} may serve{entry}", civil_words(local), range(limits));
    if let Some(next) = settings.schedule.next_change(settings.ready, local) {
        let limits = settings.schedule.limits_at(settings.ready, next).0;
        found.push_str(&format!("; from {} on {}", civil_words(next), range(limits)));
    }
    Some(Finding::ok(&about, found))
}
