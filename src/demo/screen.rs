//! The demo in lines of text: one a second, and one for each thing the agent does. With colour
//! and bars on a terminal, plain in a pipe.

use std::io::{self, Write};
use std::time::Duration;

use super::haproxy::ServerSeen;
use super::journal::News;
use super::load::Felt;
use super::scenario::{DEFAULT_TIMINGS, SERVERS, SERVICE, TARGET, TIMINGS, WORKERS};
use super::verdict::Verdict;

/// Columns of a bar, one for each half of the target, so the target itself is at two.
const BAR: usize = 8;

/// A sign on a terminal, and what stands for it in a pipe.
#[derive(Clone, Copy)]
struct Glyph(&'static str, &'static str);

const SERVING: Glyph = Glyph("■", "#");
const MOVING: Glyph = Glyph("◧", "+");
const MAINT: Glyph = Glyph("□", ".");

/// Where lines go, and how they look there.
#[derive(Debug)]
pub struct Screen<W> {
    out: W,
    look: Look,
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Colour, blocks and bars.
    Terminal,
    /// ASCII.
    Plain,
}

/// One second.
#[derive(Clone, Debug)]
pub struct Second<'a> {
    /// Which, 1 for the first.
    pub number: u64,
    /// Requests a second that arrive.
    pub rate: f64,
    /// The servers the agent has.
    pub servers: &'a [ServerSeen],
    /// What clients felt with the agent.
    pub with: Felt,
    /// What clients felt without.
    pub without: Felt,
}

#[derive(Clone, Copy)]
enum Colour {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
}

impl<W: Write> Screen<W> {
    /// Writes to `out`.
    pub fn new(out: W, look: Look) -> Self {
        Self { out, look }
    }

    /// What is going to be seen.
    ///
    /// # Errors
    /// As all of these: nobody reads any more.
    pub fn begin(&mut self) -> io::Result<()> {
        let target = TARGET.as_millis();
        let each = WORKERS as f64 / SERVICE.mean.as_secs_f64();
        let [serving, moving, maint] = [SERVING, MOVING, MAINT].map(|glyph| self.glyph(glyph));
        writeln!(
            self.out,
            "A real HAProxy with {SERVERS} servers, of which one serves. Each carries {each:.0} requests a second; the load
rises to more than twice that, and falls again. The agent is to keep the p95 below {target} ms with
as few servers as will do. Beside it the same load on one server, without an agent.

The agent's timings are short here, so that it is over in a minute:
  here      {TIMINGS}
  defaults  {DEFAULT_TIMINGS}
Servers:  {serving} serves   {moving} warms up or drains   {maint} is in MAINT
"
        )?;
        let gap = self.bar_gap();
        let felt = format!("{:>7} {:>8}{gap}{:>8}", "answers", "p95", "over");
        let sides =
            format!("{:22}{:<width$}  |  one server, no agent", "", "with the agent", width = felt.len());
        let columns = format!("{:>5} {:>6}  {:<7} {felt}  |  {felt}", "time", "load", "servers");
        writeln!(self.out, "{}\n{}", self.paint(Colour::Bold, &sides), self.paint(Colour::Bold, &columns))
    }

    /// One second as clients felt it.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn second(&mut self, second: &Second<'_>) -> io::Result<()> {
        let Second { number, rate, servers, with, without } = second;
        let servers: String = servers.iter().map(|server| self.server(server)).collect();
        let (with, without) = (self.felt(with), self.felt(without));
        writeln!(self.out, "{number:>3} s {rate:>4.0}/s  {servers}    {with}  |  {without}")
    }

    /// What the agent did.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn news(&mut self, news: &News) -> io::Result<()> {
        let (colour, sign, text) = match news {
            News::Up(text) => (Colour::Yellow, self.glyph(Glyph("▲", "^")), text),
            News::Down(text) => (Colour::Yellow, self.glyph(Glyph("▼", "v")), text),
            News::Moved(text) => (Colour::Dim, self.glyph(Glyph("·", "-")), text),
            News::Failed(text) => (Colour::Red, "!", text),
        };
        writeln!(self.out, "      {}", self.paint(colour, &format!("{sign} {text}")))
    }

    /// The end of it: figures, and which promises were kept.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn end(&mut self, verdict: &Verdict) -> io::Result<()> {
        writeln!(self.out)?;
        for row in verdict.table() {
            let [what, with, without, always] = row;
            writeln!(self.out, "{what:<24}{with:>18}{without:>18}{always:>24}")?;
        }
        writeln!(self.out)?;
        for promise in verdict.promises() {
            let (colour, sign) = if promise.is_kept {
                (Colour::Green, self.glyph(Glyph("✓", "kept:")))
            } else {
                (Colour::Red, self.glyph(Glyph("✗", "BROKEN:")))
            };
            writeln!(self.out, "{} {}", self.paint(colour, sign), promise.text)?;
        }
        Ok(())
    }

    /// A line as it is.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    fn felt(&self, felt: &Felt) -> String {
        let Felt { requests, failed, over, p95, .. } = *felt;
        if requests == 0 {
            return format!("{:>5}/s {:>8}{}{:>8}", 0, "-", self.bar_gap(), "-");
        }
        let share = (over * 100).div_ceil(requests);
        let colour = if p95 > TARGET { Colour::Red } else { Colour::Green };
        let bar = match self.look {
            Look::Terminal => format!(" {}", self.paint(colour, &format!("{:<BAR$}", bar(p95)))),
            Look::Plain => String::new(),
        };
        let p95 = self.paint(colour, &format!("{:>5} ms", p95.as_millis()));
        format!("{:>5}/s {p95}{bar} {share:>5} %", requests - failed)
    }

    fn server(&self, server: &ServerSeen) -> String {
        if server.is_serving() {
            self.paint(Colour::Green, self.glyph(SERVING))
        } else if server.is_needed() {
            self.paint(Colour::Yellow, self.glyph(MOVING))
        } else {
            self.paint(Colour::Dim, self.glyph(MAINT))
        }
    }

    fn bar_gap(&self) -> String {
        match self.look {
            Look::Terminal => " ".repeat(BAR + 1),
            Look::Plain => String::new(),
        }
    }

    fn glyph(&self, glyph: Glyph) -> &'static str {
        match self.look {
            Look::Terminal => glyph.0,
            Look::Plain => glyph.1,
        }
    }

    fn paint(&self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Bold => 1,
            Colour::Dim => 2,
            Colour::Red => 31,
            Colour::Green => 32,
            Colour::Yellow => 33,
        };
        match self.look {
            Look::Terminal => format!("\x1b[{code}m{text}\x1b[0m"),
            Look::Plain => text.to_owned(),
        }
    }
}

/// As long as `p95`, in half targets and their eighths.
fn bar(p95: Duration) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (p95.as_secs_f64() / TARGET.as_secs_f64() * 2.0 * 8.0).min((BAR * 8) as f64) as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(look: Look, write: impl FnOnce(&mut Screen<Vec<u8>>) -> io::Result<()>) -> String {
        let mut screen = Screen::new(Vec::new(), look);
        write(&mut screen).expect("memory takes all");
        String::from_utf8(screen.out).expect("it is text")
    }

    fn second(look: Look, with: Felt) -> String {
        let server = |status: &str| ServerSeen { name: "s".to_owned(), status: status.to_owned(), weight: 1 };
        let servers = ["UP", "DRAIN", "MAINT", "DOWN"].map(server);
        let second = Second { number: 12, rate: 213.7, servers: &servers, with, without: Felt::default() };
        written(look, |screen| screen.second(&second))
    }

    fn felt(p95_ms: u64) -> Felt {
        Felt { requests: 200, over: 7, p95: Duration::from_millis(p95_ms), ..Felt::default() }
    }

    #[test]
    fn a_second_is_one_plain_line_in_a_pipe() {
        let line = second(Look::Plain, felt(182));
        assert_eq!(line, " 12 s  214/s  #+.+      200/s   182 ms     4 %  |      0/s        -       -\n");
    }

    #[test]
    fn columns_stand_below_their_headings() {
        for look in [Look::Plain, Look::Terminal] {
            let head = written(look, Screen::begin);
            let heading = without_colour(head.lines().last().unwrap_or_default());
            for with in [felt(35), felt(182), felt(3000), Felt::default()] {
                let line = without_colour(&second(look, with));
                for line in [&heading, &line] {
                    assert_eq!(
                        line.chars().position(|c| c == '|'),
                        heading.chars().position(|c| c == '|'),
                        "{line}"
                    );
                }
                assert!(line.chars().count() <= 100, "{line}");
            }
        }
    }

    #[test]
    fn what_is_over_target_is_red() {
        assert!(second(Look::Terminal, felt(251)).contains("\x1b[31m  251 ms"));
        assert!(second(Look::Terminal, felt(250)).contains("\x1b[32m  250 ms"));
    }

    #[test]
    fn a_bar_never_leaves_its_columns() {
        for (ms, wanted) in [(0, ""), (125, "█"), (250, "██"), (266, "██▏"), (60_000, "████████")]
        {
            assert_eq!(bar(Duration::from_millis(ms)), wanted, "{ms} ms");
        }
    }

    fn without_colour(text: &str) -> String {
        let mut parts = text.split('\x1b');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
    }
}
