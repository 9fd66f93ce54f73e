//! The fake HAProxy answers as the real ones were recorded to: `fixtures/socket/<version>/*.txt`.
//!
//! Only commands that the fake claims to know are played; it has the servers of `fixtures/socket/haproxy.cfg` by name.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use support::{FakeHaproxy, ask};

mod support;

/// The exchanges of the scene, as they were with each release: version, command, answer.
fn recorded(scene: &str) -> Vec<(String, String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/socket");
    let mut found = Vec::new();
    for release in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let Ok(text) = fs::read_to_string(release.join(format!("{scene}.txt"))) else { continue };
        let version = release.file_name().unwrap().to_string_lossy().into_owned();
        // An answer may have this within a line.
        let text = format!("\n{}", text.strip_suffix('\n').unwrap());
        let exchanges = text.split("\n> ").skip(1).map(|exchange| match exchange.split_once('\n') {
            Some((line, rest)) => (version.clone(), line.to_owned(), format!("{rest}\n")),
            None => (version.clone(), exchange.to_owned(), String::new()),
        });
        found.extend(exchanges);
    }
    assert!(!found.is_empty(), "{scene}");
    found
}

fn fake() -> FakeHaproxy {
    fake_of("2.6.12")
}

fn fake_of(version: &str) -> FakeHaproxy {
    let web = &["s1", "s2", "spare", "plain", "reserve", "shadow", "agent"][..];
    let backends = [("web", web), ("fixed", &["h1", "h2"]), ("places", &["six", "path", "lost"])];
    let fake = FakeHaproxy::start_as(version, &backends);
    fake.change("web/shadow", |server| server.tracks = "web/s1".to_owned());
    fake.change("places/six", |server| server.address = "[::1]:28081".parse().unwrap());
    fake
}

/// What the fake claims: states, weights, health and addresses of servers of a backend with weights, declared or added.
fn is_claimed(line: &str) -> bool {
    line.split("; ").all(|part| match part.split(' ').collect::<Vec<_>>()[..] {
        ["set", "server", name, "state" | "health", _] => !name.ends_with("shadow"),
        ["set", "server", name, "weight", weight] => {
            !name.starts_with("fixed/") && weight.parse::<u32>().is_ok()
        }
        ["add" | "del", "server", name, ..] => !name.starts_with("fixed/"),
        ["set", "server", _, "addr", ..] | ["set", "maxconn", "server", ..] => true,
        ["enable", "health", _] | ["shutdown", "sessions", "server", _] => true,
        ["wait", _, "srv-removable", _] | ["show", "cli", "level"] => true,
        _ => false,
    })
}

#[test]
fn changes_and_refusals_are_answered_byte_by_byte_as_by_the_real_ones() {
    let mut played = BTreeMap::<String, usize>::new();
    for scene in ["changes", "until_checked", "out_of_maint", "refused", "added", "address"] {
        let mut fakes = BTreeMap::new();
        for (version, line, answer) in recorded(scene).into_iter().filter(|(_, line, _)| is_claimed(line)) {
            let fake = fakes.entry(version.clone()).or_insert_with(|| fake_of(&version));
            let told = ask(&fake.socket(), &line).unwrap();
            // The commands that there are it does not tell.
            let is_unknown = answer.starts_with("Unknown command");
            let (ours, theirs) = if is_unknown { (first(&told), first(&answer)) } else { (&*told, &*answer) };
            assert_eq!(ours, theirs, "HAProxy {version}, {scene}: {line}");
            *played.entry(version).or_default() += 1;
        }
    }
    assert!(played.len() > 4 && played.values().all(|&lines| lines > 30), "{played:?}");
}

#[test]
fn what_not_every_release_can_is_listed_as_by_the_real_ones() {
    for (version, _, answer) in
        recorded("abilities").into_iter().filter(|(_, line, _)| line.ends_with("help"))
    {
        let told = ask(&fake_of(&version).socket(), "help").unwrap();
        let is_ours =
            |line: &&str| ["  add server", "  del server", "  wait"].iter().any(|it| line.starts_with(it));
        let command = |line: &str| line.split(" : ").next().map(|it| it.trim_end().to_owned());
        let theirs: Vec<_> = answer.lines().filter(is_ours).map(command).collect();
        let ours: Vec<_> = told.lines().filter(|line| !line.is_empty()).map(command).collect();
        assert_eq!(ours, theirs, "HAProxy {version}");
    }
}

/// An answer's parts: each command's, up to the empty line behind it.
fn parts(answer: &str) -> Vec<&str> {
    answer.strip_suffix("\n\n").expect("it ends with an empty line").split("\n\n").collect()
}

fn titles(part: &str) -> Vec<String> {
    let title = part.lines().find_map(|line| line.strip_prefix("# ")).expect("columns have titles");
    title.split([' ', ',']).map(str::to_owned).collect()
}

#[test]
fn tables_have_columns_of_the_real_ones_and_end_as_they_do() {
    let fake = fake();
    for (version, line, answer) in recorded("settled") {
        let told = ask(&fake.socket(), &line).unwrap();
        let (ours, theirs) = (parts(&told), parts(&answer));
        assert_eq!(ours.len(), theirs.len(), "HAProxy {version}: {line}");
        for line in ours[0].lines() {
            let key = line.split_once(": ").expect("a key and a value").0;
            assert!(
                theirs[0].contains(&format!("\n{key}: ")) || theirs[0].starts_with(key),
                "{version}: {key}"
            );
        }
        let known = titles(theirs[1]);
        for title in titles(ours[1]) {
            assert!(known.contains(&title), "HAProxy {version} has no `{title}` in `show stat`");
        }
        // What came with a later release comes behind these.
        let (ours, theirs) = (ours[2].lines().collect::<Vec<_>>(), theirs[2].lines().collect::<Vec<_>>());
        assert_eq!(ours[0], theirs[0], "the table's own version");
        let (ours_titles, known) = (titles(ours[1]), titles(theirs[1]));
        let both = ours_titles.len().min(known.len());
        assert_eq!(ours_titles[..both], known[..both], "HAProxy {version}");
        let columns = |row: &str| row.split(' ').count();
        assert!(theirs[2..].iter().all(|row| columns(row) == known.len()), "HAProxy {version}");
        assert!(ours[2..].iter().all(|row| columns(row) == ours_titles.len()), "{ours:#?}");
    }
}

#[test]
fn an_unknown_backend_is_refused_in_the_words_of_the_real_ones() {
    let fake = fake();
    for (version, line, answer) in recorded("refused") {
        if line.starts_with("show stat") || line.starts_with("show servers state") {
            assert_eq!(ask(&fake.socket(), &line).unwrap(), answer, "HAProxy {version}: {line}");
        }
        // It is a 2.6 in this.
        if line == "nonsense" && version.starts_with("2.6.") {
            let told = ask(&fake.socket(), &line).unwrap();
            assert_eq!(told.lines().next(), answer.lines().next(), "HAProxy {version}");
            assert!(told.ends_with("\n\n") && answer.ends_with("\n\n"), "HAProxy {version}");
        }
    }
}

/// What differs from one process to the next: its number, its age, its version.
fn without_process(answer: &str) -> String {
    let word = |word: &str| match word {
        _ if word.len() == 11 && word.starts_with("0d") => "AGE".to_owned(),
        _ if word.starts_with("2.6.12-") => "VERSION".to_owned(),
        _ if word.len() > 2 && word.parse::<u32>().is_ok() => "PID".to_owned(),
        _ => word.to_owned(),
    };
    answer
        .lines()
        .map(|line| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ") + "\n")
        .collect()
}

#[test]
fn a_master_answers_as_the_real_ones() {
    let fake = fake();
    let mut reloads = 0;
    for (version, line, answer) in recorded("master") {
        // It is a 2.6 in this: what a reload is answered with and how processes are listed.
        let is_2_6 = version.starts_with("2.6.");
        if line == "reload" && is_2_6 {
            reloads += 1;
            if reloads == 2 {
                fake.spoil_config();
            }
        }
        let is_unknown = answer.starts_with("Unknown command");
        if is_2_6 || !(line.starts_with("show proc") || line == "reload" || is_unknown) {
            let told = ask(&fake.master_socket(), &line).unwrap();
            let (ours, theirs) = (without_process(&told), without_process(&answer));
            // The commands that there are it does not tell.
            let (ours, theirs) = if is_unknown { (first(&ours), first(&theirs)) } else { (&*ours, &*theirs) };
            assert_eq!(ours, theirs, "HAProxy {version}: {line}");
        }
    }
    assert_eq!(reloads, 2);
}

fn first(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
