//! What `policy: threshold` decides, told as scripts, and what it never does, as properties.

mod properties;
mod stage;

use std::time::{Duration, Instant};

use haproxy_autoscale::core::policy::decision::Reason;
use haproxy_autoscale::core::policy::state::{Direction, Phase};
use haproxy_autoscale::core::settings::{BackendSettings, Statistic};
use stage::{Stage, defaults, duration};

/// Plays a script of lines `time  changes  decision`, columns two spaces apart, changes separated
/// by commas. A line without a decision is not an evaluation; `-` stands for no change.
#[track_caller]
fn check(settle: impl FnOnce(&mut BackendSettings), script: &str) {
    let mut settings = defaults();
    settle(&mut settings);
    let mut stage = Stage::new(settings);
    let start = Instant::now();
    let mut played = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (time, rest) = line.split_once("  ").unwrap_or((line, "-"));
        let (changes, expected) = match rest.trim().split_once("  ") {
            Some((changes, expected)) => (changes, Some(expected.trim())),
            None => (rest.trim(), None),
        };
        let now = start + duration(time);
        changes.split(", ").filter(|&change| change != "-").for_each(|change| stage.apply(now, change));
        let decision = expected.map(|_| stage.step(now).to_string());
        assert_eq!(decision.as_deref(), expected, "at {time}, after{played}");
        played = format!("{played}\n  {line}");
    }
}

/// The defaults as they are.
fn as_they_are(_: &mut BackendSettings) {}

/// Fewer servers at the first evaluation below the band.
fn impatient_down(settings: &mut BackendSettings) {
    settings.scale_down.stabilization_window = Duration::ZERO;
}

#[test]
fn a_breach_that_lasts_adds_a_server() {
    check(
        as_they_are,
        "
         0s  p95 180ms  hold: p95 180 ms is between 100 ms and 250 ms
         1s  p95 412ms  hold: p95 412 ms has been above 250 ms for 0 s; 10 s are needed
         6s  -          hold: p95 412 ms has been above 250 ms for 5 s; 10 s are needed
        11s  -          scale up by 1: p95 412 ms has been above 250 ms for 10 s
        12s  -          scale up by 1: p95 412 ms has been above 250 ms for 11 s
    ",
    );
}

#[test]
fn a_breach_shorter_than_the_stabilization_window_does_nothing() {
    check(
        as_they_are,
        "
         0s  p95 412ms  hold: p95 412 ms has been above 250 ms for 0 s; 10 s are needed
         9s  p95 250ms  hold: p95 250 ms is between 100 ms and 250 ms
        10s  p95 412ms  hold: p95 412 ms has been above 250 ms for 0 s; 10 s are needed
        19s  p95 300ms  hold: p95 300 ms has been above 250 ms for 9 s; 10 s are needed
        20s  -          scale up by 1: p95 300 ms has been above 250 ms for 10 s
    ",
    );
}

#[test]
fn so_many_evaluations_in_a_row_are_as_good_as_the_stabilization_window() {
    check(
        |settings| settings.scale_up.breaches = 3,
        "
         0s  p95 412ms  hold: p95 412 ms has been above 250 ms for 0 s; 10 s or 3 evaluations are needed
         1s  -          hold: p95 412 ms has been above 250 ms for 1 s; 10 s or 3 evaluations are needed
         2s  -          scale up by 1: p95 412 ms has been above 250 ms for 2 s
    ",
    );
}

#[test]
fn cooldown_begins_when_haproxy_has_said_yes() {
    check(
        |settings| settings.scale_up.stabilization_window = Duration::ZERO,
        "
         0s  p95 400ms                        scale up by 1: p95 400 ms has been above 250 ms for 0 s
         0s  acting up                        hold: a move is being carried out
        20s  -                                hold: a move is being carried out
        25s  applied up, serving 4, spares 1  hold: cooling down for 30 s
        54s  p95 9000ms                       hold: cooling down for 1 s
        55s  p95 400ms                        scale up by 1: p95 400 ms has been above 250 ms for 0 s
    ",
    );
}

#[test]
fn a_move_that_failed_is_tried_again_once_the_breach_has_lasted_anew() {
    check(
        as_they_are,
        "
         0s  p95 400ms  hold: p95 400 ms has been above 250 ms for 0 s; 10 s are needed
        10s  -          scale up by 1: p95 400 ms has been above 250 ms for 10 s
        10s  acting up  hold: a move is being carried out
        12s  failed     hold: p95 400 ms has been above 250 ms for 0 s; 10 s are needed
        22s  -          scale up by 1: p95 400 ms has been above 250 ms for 10 s
    ",
    );
}

#[test]
fn figures_below_the_band_that_last_take_a_server_away() {
    check(
        as_they_are,
        "
          0s  p95 60ms                 hold: p95 60 ms has been below 100 ms for 0 s; 5 min are needed
        299s  -                        hold: p95 60 ms has been below 100 ms for 4 min 59 s; 5 min are needed
        300s  -                        scale down by 1: p95 60 ms has been below 100 ms for 5 min
        301s  acting down              hold: a move is being carried out
        330s  applied down, serving 2  hold: cooling down for 2 min
        449s  -                        hold: cooling down for 1 s
        450s  -                        hold: p95 60 ms has been below 100 ms for 0 s; 5 min are needed
        750s  -                        scale down by 1: p95 60 ms has been below 100 ms for 5 min
    ",
    );
}

#[test]
fn one_evaluation_within_the_band_and_the_wait_for_fewer_servers_begins_anew() {
    check(
        as_they_are,
        "
          0s  p95 60ms   hold: p95 60 ms has been below 100 ms for 0 s; 5 min are needed
        299s  p95 100ms  hold: p95 100 ms is between 100 ms and 250 ms
        300s  p95 60ms   hold: p95 60 ms has been below 100 ms for 0 s; 5 min are needed
    ",
    );
}

#[test]
fn nothing_is_done_on_first_sight_but_for_the_fewest() {
    check(
        as_they_are,
        "
         0s  watched 0s, p95 900ms, serving 0  scale up by 1: no server serving, 1 is the fewest allowed
         0s  acting up                         hold: a move is being carried out
         1s  failed                            scale up by 1: no server serving, 1 is the fewest allowed
         2s  serving 1                         hold: just started, 30 s to go until the window is whole
        29s  watched 29s                       hold: just started, 1 s to go until the window is whole
        30s  watched 30s                       hold: p95 900 ms has been above 250 ms for 0 s; 10 s are needed
    ",
    );
}

#[test]
fn too_few_requests_are_no_reason_for_anything() {
    check(
        as_they_are,
        "
          0s  p95 9000ms, samples 49  hold: 49 requests in the window, 50 are needed
         60s  samples 50              hold: p95 9 s has been above 250 ms for 0 s; 10 s are needed
         69s  samples 49              hold: 49 requests in the window, 50 are needed
         70s  samples 50              hold: p95 9 s has been above 250 ms for 0 s; 10 s are needed
         80s  samples 49              hold: 49 requests in the window, 50 are needed
    ",
    );
}

#[test]
fn a_thin_moment_does_not_begin_the_wait_for_fewer_servers_anew_unless_it_is_slow() {
    check(
        as_they_are,
        "
          0s  p95 60ms              hold: p95 60 ms has been below 100 ms for 0 s; 5 min are needed
        100s  samples 49            hold: 49 requests in the window, 50 are needed
        300s  -                     hold: 49 requests in the window, 50 are needed
        301s  samples 50            scale down by 1: p95 60 ms has been below 100 ms for 5 min 1 s
        302s  p95 200ms, samples 3  hold: 3 requests in the window, 50 are needed
        303s  p95 60ms, samples 50  hold: p95 60 ms has been below 100 ms for 0 s; 5 min are needed
    ",
    );
}

#[test]
fn idle_for_ever_ends_at_the_fewest_servers() {
    check(
        as_they_are,
        "
           0s  none, sessions 0, newest 31s  hold: no request for 31 s; 5 min are needed
         269s  newest 300s                   scale down by 1: no request for 5 min
         270s  applied down, serving 2       hold: cooling down for 2 min
         390s  newest 421s                   scale down by 1: no request for 7 min 1 s
         391s  applied down, serving 1       hold: cooling down for 2 min
         511s  newest 542s, removable 0      hold: fast enough with 1 server, the fewest allowed
    ",
    );
}

#[test]
fn a_backend_that_never_had_a_request_is_idle_once_it_was_watched_for_long_enough() {
    check(
        as_they_are,
        "
           0s  none, never, sessions 0, watched 40s  hold: no request for 40 s; 5 min are needed
         260s  watched 300s                          scale down by 1: no request for 5 min
    ",
    );
}

#[test]
fn silence_is_not_idleness_while_haproxy_has_sessions() {
    check(
        as_they_are,
        "
           0s  none, newest 600s, sessions 1  hold: no request in the window, 50 are needed
           1s  sessions 0, unseen 1           hold: no request in the window, 50 are needed
           2s  unseen 0                       scale down by 1: no request for 10 min
    ",
    );
}

#[test]
fn a_silent_log_under_load_stops_scale_downs() {
    check(
        as_they_are,
        "
           0s  p95 60ms             hold: p95 60 ms has been below 100 ms for 0 s; 5 min are needed
         300s  newest 5s, unseen 6  scale down by 1: p95 60 ms has been below 100 ms for 5 min
         301s  newest 6s, unseen 5  scale down by 1: p95 60 ms has been below 100 ms for 5 min 1 s
         302s  unseen 6             hold: no log line comes, though HAProxy counts 6 requests since the last
         303s  p95 60ms, unseen 0   hold: p95 60 ms has been below 100 ms for 0 s; 5 min are needed
    ",
    );
}

#[test]
fn a_queue_under_a_silent_log_adds_servers() {
    check(as_they_are, "
           0s  newest 6s, unseen 90, queued 4  hold: the log does not tell, and HAProxy has had a queue for 0 s, now 4 long; 10 s are needed
           9s  queued 7                        hold: the log does not tell, and HAProxy has had a queue for 9 s, now 7 long; 10 s are needed
          10s  queued 9                        scale up by 1: the log does not tell, and HAProxy has had a queue for 10 s, now 9 long
          11s  queued 0                        hold: no log line comes, though HAProxy counts 90 requests since the last
    ");
}

#[test]
fn the_rate_of_a_silent_log_is_not_remembered_as_too_much() {
    check(impatient_down, "
           0s  newest 6s, unseen 90, queued 4, rate 6  hold: the log does not tell, and HAProxy has had a queue for 0 s, now 4 long; 10 s are needed
          10s  -                                       scale up by 1: the log does not tell, and HAProxy has had a queue for 10 s, now 4 long
          11s  p95 60ms, unseen 0, queued 0, rate 100  scale down by 1: p95 60 ms has been below 100 ms for 0 s
    ");
}

#[test]
fn requests_that_find_no_room_are_a_breach_however_fast_the_others_are() {
    check(
        as_they_are,
        "
           0s  p95 60ms, saturation 4/100  hold: p95 60 ms has been below 100 ms for 0 s; 5 min are needed
           1s  saturation 5/501            hold: p95 60 ms has been below 100 ms for 1 s; 5 min are needed
           2s  saturation 5/500            hold: 5 of 500 requests found no room, for 0 s; 10 s are needed
          12s  saturation 400/500          scale up by 1: 400 of 500 requests found no room, for 10 s
    ",
    );
}

#[test]
fn the_fewest_servers_are_restored_at_once_even_in_a_cooldown() {
    check(|settings| settings.ready.min = 3, "
           0s  p95 60ms, applied down, serving 1, spares 5  scale up by 2: 1 server serving, 3 is the fewest allowed
           1s  spares 1                                     scale up by 1: 1 server serving, 3 is the fewest allowed
           2s  spares 0                                     hold: more servers are needed, but none is left to add
           3s  spares 2, acting down                        scale up by 2: 1 server serving, 3 is the fewest allowed
           4s  acting up                                    hold: a move is being carried out
           5s  applied up, serving 3                        hold: cooling down for 30 s
    ");
}

#[test]
fn more_than_the_most_allowed_are_taken_away_but_not_in_a_cooldown() {
    check(|settings| settings.ready.max = Some(2), "
           0s  p95 200ms, applied up, serving 4, removable 4  hold: cooling down for 30 s
          30s  -                                              scale down by 1: 4 servers serving, 2 is the most allowed
          31s  removable 0                                    hold: fewer servers would do, but none of them may be taken away
          32s  removable 1, applied down, serving 3           hold: cooling down for 2 min
         152s  p95 900ms                                      scale down by 1: 3 servers serving, 2 is the most allowed
    ");
}

#[test]
fn a_breach_that_nobody_looked_at_has_not_lasted() {
    check(
        |settings| settings.ready.min = 2,
        "
           0s  p95 400ms             hold: p95 400 ms has been above 250 ms for 0 s; 10 s are needed
           1s  serving 1, spares 0   hold: more servers are needed, but none is left to add
          60s  serving 2, spares 2   hold: p95 400 ms has been above 250 ms for 0 s; 10 s are needed
    ",
    );
    check(
        |settings| settings.ready.max = Some(4),
        "
           0s  p95 400ms             hold: p95 400 ms has been above 250 ms for 0 s; 10 s are needed
           1s  serving 5             scale down by 1: 5 servers serving, 4 is the most allowed
          60s  serving 3             hold: p95 400 ms has been above 250 ms for 0 s; 10 s are needed
    ",
    );
}

#[test]
fn the_last_server_stays_even_if_no_fewest_is_asked_for() {
    check(|settings| settings.ready.min = 0, "
           0s  none, newest 600s, sessions 0, serving 1, removable 1  hold: fast enough with 1 server, the fewest allowed
           1s  serving 0                                              scale up by 1: no server serving, 1 is the fewest allowed
    ");
}

#[test]
fn steps_up_are_cut_to_what_is_allowed_and_there() {
    let bold = |settings: &mut BackendSettings| {
        settings.scale_up.stabilization_window = Duration::ZERO;
        settings.scale_up.step = 4;
        settings.ready.max = Some(8);
    };
    check(
        bold,
        "
           0s  p95 400ms, spares 9  scale up by 4: p95 400 ms has been above 250 ms for 0 s
           1s  serving 6            scale up by 2: p95 400 ms has been above 250 ms for 1 s
           2s  spares 1             scale up by 1: p95 400 ms has been above 250 ms for 2 s
           3s  spares 0             hold: more servers are needed, but none is left to add
           4s  spares 5, serving 8  hold: too much load, but 8 servers serve, the most allowed
    ",
    );
}

#[test]
fn steps_down_are_cut_to_what_is_allowed_and_there() {
    let bold = |settings: &mut BackendSettings| {
        impatient_down(settings);
        settings.scale_down.step = 4;
        settings.ready.min = 2;
    };
    check(bold, "
           0s  p95 40ms, serving 9, removable 9  scale down by 4: p95 40 ms has been below 100 ms for 0 s
           1s  serving 5                         scale down by 3: p95 40 ms has been below 100 ms for 1 s
           2s  removable 1                       scale down by 1: p95 40 ms has been below 100 ms for 2 s
           3s  removable 0                       hold: fewer servers would do, but none of them may be taken away
           4s  removable 2, serving 2            hold: fast enough with 2 servers, the fewest allowed
    ");
}

#[test]
fn a_server_stays_if_the_others_were_too_slow_under_such_a_load_within_the_hour() {
    check(impatient_down, "
           0s  p95 400ms, rate 303              hold: p95 400 ms has been above 250 ms for 0 s; 10 s are needed
          10s  -                                scale up by 1: p95 400 ms has been above 250 ms for 10 s
          11s  acting up
          12s  applied up, serving 4, spares 1
          50s  p95 90ms, rate 285, removable 3  hold: would leave 3 servers with 95 requests/s each; they were too slow at 101
          60s  rate 243                         hold: would leave 3 servers with 81 requests/s each; they were too slow at 101
          70s  rate 242                         scale down by 1: p95 90 ms has been below 100 ms for 20 s
        3609s  rate 285                         hold: would leave 3 servers with 95 requests/s each; they were too slow at 101
        3610s  rate 285                         scale down by 1: p95 90 ms has been below 100 ms for 59 min 20 s
    ");
}

#[test]
fn a_step_down_is_made_smaller_until_the_others_can_carry_the_load() {
    let bold = |settings: &mut BackendSettings| {
        impatient_down(settings);
        settings.scale_down.step = 4;
    };
    check(bold, "
           0s  p95 400ms, rate 300, spares 0     hold: p95 400 ms has been above 250 ms for 0 s; 10 s are needed
          10s  -                                 hold: more servers are needed, but none is left to add
          20s  p95 90ms, serving 8, removable 8  scale down by 4: p95 90 ms has been below 100 ms for 0 s
          21s  rate 450                          scale down by 2: p95 90 ms has been below 100 ms for 1 s
          22s  rate 561                          hold: would leave 7 servers with 80 requests/s each; they were too slow at 100
    ");
}

#[test]
fn a_server_stays_if_the_others_have_too_few_connections() {
    check(impatient_down, "
           0s  p95 60ms, maxconn 60, concurrency 33  hold: would leave 2 servers with 16 connections each, of the 20 that maxconn allows
           1s  concurrency 3, sessions 40            hold: would leave 2 servers with 20 connections each, of the 20 that maxconn allows
           2s  sessions 32                           scale down by 1: p95 60 ms has been below 100 ms for 2 s
    ");
}

#[test]
fn fast_answers_prove_nothing_while_servers_fail() {
    check(
        impatient_down,
        "
           0s  p95 60ms, failures 40/800  hold: fast enough, but 40 of 800 requests failed on their servers
           1s  failures 39/800            scale down by 1: p95 60 ms has been below 100 ms for 1 s
    ",
    );
}

#[test]
fn a_burst_after_a_scale_down_breaks_the_cooldown_once_it_has_lasted() {
    check(as_they_are, "
           0s  p95 60ms, applied down, serving 2  hold: cooling down for 2 min
          20s  p95 500ms                          hold: cooling down for 1 min 40 s
          40s  p95 501ms                          hold: cooling down for 1 min 20 s
          49s  -                                  hold: cooling down for 1 min 11 s
          50s  -                                  scale up by 1: burst after a scale-down: p95 501 ms is over twice 250 ms
          51s  acting up
          52s  applied up, serving 3, p95 60ms    hold: cooling down for 30 s
         382s  -                                  hold: p95 60 ms has been below 100 ms for 0 s; 5 min are needed
         682s  -                                  hold: would leave 2 servers with 50 requests/s each; they were too slow at 50
    ");
    check(as_they_are, "
           0s  p95 60ms, applied down, saturation 24/500  hold: cooling down for 2 min
          20s  saturation 25/500                          hold: cooling down for 1 min 40 s
          30s  -                                          scale up by 1: burst after a scale-down: 25 of 500 requests found no room
          31s  saturation 25/49                           hold: cooling down for 1 min 29 s
    ");
}

#[test]
fn a_silent_log_is_no_burst() {
    check(
        as_they_are,
        "
           0s  p95 900ms, applied down               hold: cooling down for 2 min
           9s  newest 9s, unseen 40                  hold: cooling down for 1 min 51 s
          10s  -                                     hold: cooling down for 1 min 50 s
    ",
    );
}

#[test]
fn nothing_breaks_the_cooldown_after_a_scale_up() {
    check(
        as_they_are,
        "
           0s  p95 9000ms, applied up, saturation 200/500  hold: cooling down for 30 s
          29s  -                                           hold: cooling down for 1 s
    ",
    );
}

#[test]
fn a_confirmed_breach_turns_a_scale_down_round() {
    check(as_they_are, "
           0s  p95 60ms, acting down, serving 2, spares 3  hold: a move is being carried out
           1s  p95 400ms                                   hold: a move is being carried out
          10s  p95 200ms                                   hold: a move is being carried out
          11s  p95 400ms                                   hold: a move is being carried out
          21s  -                                           scale up by 1: p95 400 ms has been above 250 ms for 10 s
          22s  acting up                                   hold: a move is being carried out
          23s  applied up, serving 3                       hold: cooling down for 30 s
    ");
}

#[test]
fn the_mean_of_the_last_n_needs_n_and_no_more() {
    check(|settings| settings.target.statistic = Statistic::MeanOfLast(15), "
           0s  samples 14             hold: 14 requests in the window, 15 are needed
           1s  p95 400ms, samples 15  hold: mean of the last 15 400 ms has been above 250 ms for 0 s; 10 s are needed
          11s  -                      scale up by 1: mean of the last 15 400 ms has been above 250 ms for 10 s
    ");
}

#[test]
fn status_can_tell_the_phase_and_when_the_next_move_is_possible() {
    let start = Instant::now();
    let at = |s| start + Duration::from_secs(s);
    let mut stage = Stage::new(defaults());
    assert_eq!(stage.state.phase(start), Phase::Steady);
    stage.apply(start, "p95 400ms");
    stage.step(at(1));
    stage.step(at(2));
    let pending = Phase::Pending { direction: Direction::Up, since: at(1), evaluations: 2 };
    assert_eq!((stage.state.phase(at(2)), stage.state.may_move_next(at(2))), (pending, Some(at(2))));
    let acting = stage.state.clone().acting(Direction::Up);
    assert_eq!(acting.phase(at(3)), Phase::Acting { direction: Direction::Up });
    assert_eq!(acting.may_move_next(at(3)), None);
    let cooling = acting.applied(at(4), Direction::Up, &stage.settings);
    assert_eq!(cooling.phase(at(5)), Phase::Cooldown { until: at(34), after: Direction::Up });
    assert_eq!(cooling.cooldown_left(at(5)), Some(Duration::from_secs(29)));
    assert_eq!(cooling.may_move_next(at(33)), Some(at(34)));
    assert_eq!((cooling.cooldown_left(at(34)), cooling.phase(at(34))), (None, Phase::Steady));
}

#[test]
fn a_cooldown_longer_than_any_clock_can_tell_does_not_overflow() {
    let mut stage = Stage::new(defaults());
    stage.settings.scale_up.cooldown = Duration::MAX;
    stage.apply(Instant::now(), "applied up");
    assert!(stage.state.cooldown_left(Instant::now()).is_some());
}

#[test]
fn limits_are_told_from_patience() {
    assert!(Reason::NoSpare.limited());
    assert!(!Reason::Acting.limited());
    assert_eq!(Reason::AtMax { serving: 3 }.key(), "at_max");
}
