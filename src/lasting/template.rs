//! All of haproxy.cfg from a template.
//!
//! In: the template, how the servers stand, and the configuration that is there. Out: the new configuration.
//! The template is a Jinja one. `{{ servers }}` on a line of its own in a `backend` or `listen` section becomes the
//! server lines of that backend; what follows it on the line ends each of them. Who wants to write the lines
//! himself has `backends`:
//!
//! ```text
//! backend app
//!     {{ servers }} check maxconn 50
//! backend api
//!     {% for server in backends["api"] %}
//!     server {{ server.name }} {{ server.address }} check weight {{ server.weight }}{{ " disabled" if server.disabled }}
//!     {% endfor %}
//! ```
//! Servers that were added at run time have the keywords that they were added with, instead of what follows `{{ servers }}`.

use std::collections::BTreeMap;
use std::fmt;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, Value, context};

use super::added;
use super::block::{Inherits, check_added};
use super::declared::{Declared, DeclaredServer, Lines, Section};
use super::line::{address_text, literal};
use crate::core::controller::{BackendStanding, ServerStanding};
use crate::core::wire::command::Name;

/// Stands for the server lines until it is known in which section. No text of a configuration has it.
const PLACEHOLDER: &str = "\u{1}servers\u{1}";

/// A template that runs longer is caught in a loop: some thousand for each of 10,000 servers.
const FUEL: u64 = 20_000_000;

/// Why there is no new configuration.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The template is wrong.
    #[error("the template is wrong: {0}")]
    Template(minijinja::Error),
    /// Whose servers?
    #[error("line {0} of the result: `{{{{ servers }}}}` stands in no `backend` or `listen` section")]
    NoSection(usize),
    /// Not a backend of the agent's.
    #[error(
        "`{{{{ servers }}}}` stands in `{0}`, which is not among the `backends` of the agent's config, or not in HAProxy"
    )]
    UnknownBackend(String),
    /// A line begins otherwise.
    #[error("line {0} of the result: `{{{{ servers }}}}` is not the first on its line")]
    NotFirst(usize),
    /// HAProxy does not tell where it is, and the present configuration does not either.
    #[error(
        "where the server `{backend}/{server}` is, neither HAProxy tells nor a server line in haproxy.cfg"
    )]
    NoAddress {
        /// Its backend.
        backend: String,
        /// It.
        server: String,
    },
    /// A name that no configuration can have.
    #[error("`{0}` is no name that HAProxy takes")]
    Name(String),
    /// A line would say more than HAProxy was told.
    #[error(transparent)]
    Inherits(#[from] Inherits),
}

/// A server as templates see it.
#[derive(Clone, Debug)]
struct Server {
    name: String,
    /// With its port.
    address: String,
    weight: ServerWeight,
    disabled: bool,
    /// Of a server that was added at run time.
    added: Option<ServerStanding>,
}

/// What stands behind `weight`.
#[derive(Clone, Debug)]
enum ServerWeight {
    Number(u16),
    /// A variable, perhaps, and nobody has changed what HAProxy made of it.
    AsWritten(String),
}

impl ServerWeight {
    fn of(standing: &ServerStanding, declared: Option<&DeclaredServer>) -> Self {
        let written = declared.and_then(|declared| declared.written.weight.clone());
        let said = declared.and_then(|declared| declared.weight);
        // A variable that the configuration has stands for what HAProxy was started with.
        let weight = standing.weight.or(said).unwrap_or(standing.initial_weight);
        match written.filter(|_| weight == said.unwrap_or(standing.initial_weight)) {
            Some(text) => Self::AsWritten(text),
            None => Self::Number(weight.value()),
        }
    }

    fn value(&self) -> Value {
        match self {
            Self::Number(number) => (*number).into(),
            // Those who write lines themselves may reckon with it.
            Self::AsWritten(text) => text.parse::<u16>().map_or_else(|_| text.into(), Value::from),
        }
    }
}

impl fmt::Display for ServerWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::AsWritten(text) => text.fmt(f),
        }
    }
}

impl Server {
    /// `standing`, with what the configuration that is there says where that is to stay.
    fn new(standing: &ServerStanding, backend: &str, present: &Declared) -> Result<Self, TemplateError> {
        let name = &standing.server;
        Name::new(name).map_err(|_| TemplateError::Name(name.clone()))?;
        let declared = present.server(backend, name);
        // A name that DNS resolves, a path, a variable: HAProxy only tells what became of it.
        let written = declared.map(|declared| declared.written.address.clone());
        let stays = written.clone().filter(|_| declared.is_some_and(|it| literal(&it.address).is_none()));
        let told = standing.address.map(|ip| address_text((ip, standing.port)));
        let no_address = || TemplateError::NoAddress { backend: backend.to_owned(), server: name.clone() };
        Ok(Self {
            name: name.clone(),
            address: stays.or(told).or(written).ok_or_else(no_address)?,
            weight: ServerWeight::of(standing, declared),
            disabled: match (standing.disabled, declared) {
                (Some(disabled), _) => disabled,
                (None, Some(declared)) => declared.disabled,
                (None, None) => standing.is_out,
            },
            added: standing.added().map(|_| standing.clone()),
        })
    }

    fn value(&self) -> Value {
        let Self { name, address, weight, disabled, added } = self;
        let keywords = added.as_ref().and_then(ServerStanding::added).map(ToString::to_string);
        context! { name, address, weight => weight.value(), disabled => *disabled, added => added.is_some(), keywords }
    }

    /// What was added has its own options.
    fn line(&self, indent: &str, options: &str, is_disabled_by_default: bool) -> String {
        let Self { name, address, weight, disabled, added } = self;
        if let Some((server, keywords)) = added.as_ref().and_then(|server| Some((server, server.added()?))) {
            return added::line(indent, server, keywords, is_disabled_by_default);
        }
        let options = if options.is_empty() { String::new() } else { format!(" {options}") };
        let disabled = if *disabled { " disabled" } else { "" };
        format!("{indent}server {name} {address}{options} weight {weight}{disabled}\n")
    }
}

/// The configuration that `template` makes of `standing`. `present` is the one that is there now.
///
/// # Errors
/// The template is wrong, or a server cannot be written down.
pub fn render(
    template: &str,
    standing: &[BackendStanding],
    present: &Declared,
) -> Result<String, TemplateError> {
    let mut backends = BTreeMap::new();
    for BackendStanding { backend, servers } in standing {
        // What was added is in it while it serves; on its way out it has no line any more.
        let there =
            servers.iter().filter(|server| server.added().is_none() || server.disabled == Some(false));
        let servers = there.map(|server| Server::new(server, backend, present));
        backends.insert(backend.as_str(), servers.collect::<Result<Vec<_>, _>>()?);
    }
    let mut environment = Environment::new();
    // A misspelled name is an error and no empty text; the last newline stays, for HAProxy wants one.
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let mut syntax = SyntaxConfig::builder();
    syntax.keep_trailing_newline(true);
    environment.set_syntax(syntax.build().map_err(TemplateError::Template)?);
    environment.set_fuel(Some(FUEL));
    let values = |servers: &Vec<Server>| servers.iter().map(Server::value).collect::<Vec<_>>();
    let named: BTreeMap<&str, Vec<Value>> =
        backends.iter().map(|(&name, servers)| (name, values(servers))).collect();
    let context = context! { servers => PLACEHOLDER, backends => named };
    let text =
        environment.render_named_str("template", template, context).map_err(TemplateError::Template)?;
    let text = fill(&text, &backends)?;
    standing.iter().try_for_each(|backend| check_added(&text, backend))?;
    Ok(text)
}

/// `text` with the server lines of its section in the place of each placeholder.
fn fill(text: &str, backends: &BTreeMap<&str, Vec<Server>>) -> Result<String, TemplateError> {
    let mut filled = String::with_capacity(text.len());
    for (number, line) in (1..).zip(Lines::new(text.as_bytes())) {
        // It was cut out of a text at newlines.
        let whole = String::from_utf8_lossy(line.bytes);
        let Some((indent, options)) = whole.split_once(PLACEHOLDER) else {
            filled.push_str(&whole);
            continue;
        };
        if !indent.trim().is_empty() || options.contains(PLACEHOLDER) {
            return Err(TemplateError::NotFirst(number));
        }
        let Section::Proxy(backend) = line.section else { return Err(TemplateError::NoSection(number)) };
        let servers = backends.get(backend.as_str());
        let servers = servers.ok_or_else(|| TemplateError::UnknownBackend(backend.clone()))?;
        filled
            .extend(servers.iter().map(|server| server.line(indent, options.trim(), line.settings.disables)));
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::super::testing::server;
    use super::*;
    use crate::core::controller::Origin;
    use crate::core::settings::spares::Keywords;
    use crate::core::units::Weight;
    use crate::lasting::line::ServerLine;
    use proptest::prelude::*;

    fn app(servers: Vec<ServerStanding>) -> Vec<BackendStanding> {
        vec![BackendStanding { backend: "app".to_owned(), servers }]
    }

    fn two() -> Vec<BackendStanding> {
        app(vec![server("s1", Some(false), 10, "10.0.0.1:80"), server("s2", Some(true), 1, "[::1]:80")])
    }

    #[track_caller]
    fn check(template: &str, expected: &str) {
        let found = match render(template, &two(), &Declared::default()) {
            Ok(text) => text,
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(found, expected, "{template}");
    }

    #[test]
    fn the_placeholder_becomes_the_servers_of_its_backend() {
        check(
            "global\nbackend app\n\t{{ servers }} check maxconn 50\n    option x\n",
            "global\nbackend app\n\tserver s1 10.0.0.1:80 check maxconn 50 weight 10\n\
             \tserver s2 [::1]:80 check maxconn 50 weight 1 disabled\n    option x\n",
        );
        check(
            "listen app\n{{ servers }}",
            "listen app\nserver s1 10.0.0.1:80 weight 10\nserver s2 [::1]:80 weight 1 disabled\n",
        );
    }

    #[test]
    fn servers_that_were_added_have_their_own_keywords_while_they_serve() {
        let added = |name, disabled, address| ServerStanding {
            origin: Origin::Added(Keywords::new("check inter 2s").unwrap()),
            ..server(name, disabled, 1, address)
        };
        let standing = app(vec![
            server("s1", Some(false), 10, "10.0.0.1:80"),
            added("a1", Some(false), "10.0.0.4:80"),
            added("a2", Some(true), "10.0.0.5:80"),
        ]);
        let template = "backend app\n{{ servers }} maxconn 9\n";
        assert_eq!(
            render(template, &standing, &Declared::default()).unwrap(),
            "backend app\nserver s1 10.0.0.1:80 maxconn 9 weight 10\n\
             server a1 10.0.0.4:80 check inter 2s # added by haproxy-autoscale\n",
        );
        let template = format!("defaults\n default-server ssl\n{template}");
        let error = render(&template, &standing, &Declared::default()).unwrap_err().to_string();
        assert!(error.contains("would give their lines `ssl`"), "{error}");
    }

    #[test]
    fn the_lines_can_be_written_by_hand() {
        check(
            "{% for server in backends[\"app\"] -%}\nserver {{ server.name }} {{ server.address }}{{ \" disabled\" if server.disabled }}\n{% endfor %}\n",
            "server s1 10.0.0.1:80\nserver s2 [::1]:80 disabled\n\n",
        );
        // The newline behind a block is no part of it: lines stay lines.
        check("a{% if backends[\"app\"] %} b{% endif %}\nc\n", "a b\nc\n");
    }

    #[test]
    fn what_haproxy_writes_with_percent_signs_is_left_alone() {
        let text = "log-format \"%ci %{+Q}r %[capture.req.hdr(0)]\"\n";
        check(text, text);
        check("{% raw %}{%b}{% endraw %}\n", "{%b}\n");
    }

    #[test]
    fn a_wrong_template_is_told_with_its_place() {
        check(
            "frontend f\n{{ servers }}\n",
            "error: line 2 of the result: `{{ servers }}` stands in no `backend` or `listen` section",
        );
        check(
            "backend b\n{{ servers }}\n",
            "error: `{{ servers }}` stands in `b`, which is not among the `backends` of the agent's config, or not in HAProxy",
        );
        check(
            "backend app\nserver {{ servers }}\n",
            "error: line 2 of the result: `{{ servers }}` is not the first on its line",
        );
        for (template, part) in [
            ("\n{{ servres }}", "(in template:2)"),
            ("{% for x in backends %}", "template is wrong"),
            ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "fuel"),
        ] {
            let error = render(template, &two(), &Declared::default()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn what_haproxy_cannot_tell_stays_as_the_file_has_it() {
        let present = Declared::read(
            b"backend app\nserver s1 web.example:80 weight 7\nserver s2 unix@/run/s2.sock disabled\nserver s3 10.0.0.3:80\nserver s4 10.0.0.4:80\n",
        );
        let foreign = |name, address| ServerStanding { weight: None, ..server(name, None, 1, address) };
        let standing = app(vec![
            foreign("s1", "10.0.0.1:80"),
            foreign("s2", "-"),
            foreign("s3", "10.0.0.9:80"),
            foreign("s4", "-"),
        ]);
        assert_eq!(
            render("backend app\n{{ servers }}\n", &standing, &present).unwrap(),
            "backend app\nserver s1 web.example:80 weight 7\nserver s2 unix@/run/s2.sock weight 1 disabled\n\
             server s3 10.0.0.9:80 weight 1\nserver s4 10.0.0.4:80 weight 1\n",
        );
        let error = render("", &app(vec![foreign("s9", "-")]), &present).unwrap_err().to_string();
        assert!(error.starts_with("where the server `app/s9` is"), "{error}");
        let error = render("", &app(vec![server("a b", None, 1, "10.0.0.1:80")]), &present).unwrap_err();
        assert_eq!(error.to_string(), "`a b` is no name that HAProxy takes");
    }

    #[test]
    fn the_operators_words_stay_where_nothing_has_changed() {
        let present = Declared::read(
            b"backend app\nserver s1 \"${IP}:80\" weight \"${W}\"\nserver s2 \"${IP}:81\" weight \"${W}\"\nserver s3 \"10.0.0.3:80\" weight \"7\"\n",
        );
        let is = |name, weight, address| ServerStanding {
            initial_weight: Weight::new(7).unwrap(),
            ..server(name, Some(false), weight, address)
        };
        let standing =
            app(vec![is("s1", 7, "10.0.0.1:80"), is("s2", 9, "10.0.0.1:81"), is("s3", 7, "10.0.0.4:80")]);
        assert_eq!(
            render("backend app\n{{ servers }}\n", &standing, &present).unwrap(),
            "backend app\nserver s1 \"${IP}:80\" weight \"${W}\"\nserver s2 \"${IP}:81\" weight 9\n\
             server s3 10.0.0.4:80 weight \"7\"\n",
        );
        let own = "{% for server in backends['app'] %}{{ server.weight + 0 if server.name == 's2' else server.weight }} {% endfor %}";
        assert_eq!(render(own, &standing, &present).unwrap(), "\"${W}\" 9 \"7\" ");
    }

    proptest! {
        #[test]
        fn what_is_rendered_is_read_back_as_the_same_servers(
            servers in prop::collection::btree_map("[A-Za-z0-9_:.-]{1,12}", (any::<bool>(), 0u16..=256, any::<std::net::IpAddr>(), any::<u16>()), 0..8)
        ) {
            let standing = servers.iter().map(|(name, &(disabled, weight, address, port))| ServerStanding {
                address: Some(address), port, ..server(name, Some(disabled), weight, "-")
            });
            let text = render("backend app\n  {{ servers }} cookie disabled\n", &app(standing.collect()), &Declared::default()).unwrap();
            let read: Vec<_> = text.lines().skip(1).map(|line| ServerLine::read(line.as_bytes()).unwrap()).collect();
            prop_assert_eq!(read.len(), servers.len());
            for (line, (name, (disabled, weight, address, port))) in read.iter().zip(&servers) {
                prop_assert_eq!(line.name(), name);
                prop_assert_eq!(literal(line.address()), Some((*address, *port)));
                prop_assert_eq!(line.disabled().unwrap_or(false), *disabled);
                prop_assert_eq!(line.weight().unwrap().value(), *weight);
                prop_assert_eq!(line.options(), ["cookie", "disabled"]);
            }
        }
    }
}
