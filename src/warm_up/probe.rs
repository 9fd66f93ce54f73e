//! Sends warm-up requests to one server.
//!
//! In: where the server is, and what to send. Out: how fast it was and has become, or why it
//! should not serve yet. What becomes of it then is the executor's matter.
//!
//! Over TLS no certificate is verified: the question is whether the server is warm, not who it
//! is, and no secret is sent. HAProxy's own verification, when users' requests go to the same
//! server, is not affected.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use reqwest::header::{HOST, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Url, redirect};
use rustls::crypto::ring;
use tokio::task::JoinSet;

use super::relay::Relay;
use super::settling::Latencies;
use crate::core::settings::server_lines::ProxyHeader;
use crate::core::settings::{WarmUp, WarmUpMethod, WarmUpTls};
use crate::report::chain;

/// So that a server's own log tells these requests from users'.
const USER_AGENT: &str = concat!("haproxy-autoscale/", env!("CARGO_PKG_VERSION"), " (warm-up)");

/// A latency that keeps falling is followed for so many times the requests that were asked for.
const MOST_ROUNDS: u32 = 10;

/// A cold server may fail one or two requests; one that fails more is not well.
const FAILURES_FORGIVEN: u32 = 2;

/// What a warm-up has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Warmth {
    /// Requests answered as they should be.
    pub requests: u32,
    /// The median latency of the first requests.
    pub first: Duration,
    /// The median latency of the last ones.
    pub last: Duration,
}

/// Why a server is not warm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WarmUpError {
    /// HAProxy does not tell an address and a port to send requests to.
    #[error("the server has no address and port of its own")]
    NoAddress,
    /// What is configured makes no request.
    #[error("no request can be made of the configured {what}")]
    BadRequest {
        /// The key: `path`, `host` or `sni`.
        what: &'static str,
    },
    /// The TLS library cannot be set up.
    #[error("requests cannot be sent: {reason}")]
    NoClient {
        /// In the library's words.
        reason: String,
    },
    /// Too many requests failed.
    #[error("{failed} of {sent} warm-up requests failed, the last one because {last}")]
    Failing {
        /// So many.
        failed: u32,
        /// Of so many.
        sent: u32,
        /// What was wrong with the last of them.
        last: Failure,
    },
}

/// What was wrong with one request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The server answered, but with this status.
    #[error("its status was {0}")]
    Status(u16),
    /// No complete answer within the timeout.
    #[error("it took longer than {0:?}")]
    TimedOut(Duration),
    /// No connection, or no valid answer.
    #[error("{0}")]
    Broken(String),
    /// The same, of a server of which nobody knows whether HAProxy sends it a header of the PROXY protocol.
    #[error(
        "{0} (if its line has `send-proxy`, let the agent read HAProxy's configuration: `haproxy.config`)"
    )]
    BrokenOrWithoutProxy(String),
}

/// How HAProxy connects to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// Over TLS; `None`: HAProxy does not tell, which counts as no.
    pub tls: Option<bool>,
    /// Behind this.
    pub proxy: Option<ProxyHeader>,
}

/// Sends requests to the server at `address` until at least `settings.requests` were answered and
/// it gets no faster, but at most ten times as many. Sends none if no path is configured.
///
/// # Errors
/// If nothing can be sent, or more than a few requests fail: two, or as many as are sent at a time.
pub async fn warm_up(address: SocketAddr, way: Way, settings: &WarmUp) -> Result<Warmth, WarmUpError> {
    let Some(path) = &settings.path else { return Ok(Warmth::default()) };
    let relay = match way.proxy {
        Some(header) => Some(Relay::open(address, header).await),
        None => None,
    };
    let relay = relay.transpose().map_err(|error| WarmUpError::NoClient { reason: chain(&error) })?;
    let through = relay.as_ref().map_or(address, Relay::address);
    let request = Request::new(address, through, way.tls, path, settings)?;
    let mut latencies = Latencies::new(settings.concurrency);
    let most = settings.requests.saturating_mul(MOST_ROUNDS);
    let (mut sent, mut failed) = (0, 0);
    let mut underway = JoinSet::new();
    while latencies.count() < settings.requests || !latencies.have_settled() {
        while underway.len() < settings.concurrency.max(1) as usize && sent < most {
            underway.spawn(request.clone().send());
            sent += 1;
        }
        // All were sent; a request that panics, which none does, would be one less.
        let Some(Ok(answer)) = underway.join_next().await else { break };
        match answer {
            Ok(latency) => latencies.push(latency),
            Err(last) => {
                failed += 1;
                let answerable = most - failed;
                if failed > FAILURES_FORGIVEN && failed >= settings.concurrency
                    || answerable < settings.requests
                {
                    return Err(WarmUpError::Failing { failed, sent, last });
                }
            }
        }
    }
    Ok(latencies.warmth())
}

/// The request that is sent again and again.
#[derive(Clone, Debug)]
struct Request {
    client: Client,
    method: Method,
    url: Url,
    statuses: (u16, u16),
    timeout: Duration,
}

impl Request {
    /// To the server at `address`, by way of `through`.
    fn new(
        address: SocketAddr,
        through: SocketAddr,
        tls: Option<bool>,
        path: &str,
        settings: &WarmUp,
    ) -> Result<Self, WarmUpError> {
        let tls = match settings.tls {
            WarmUpTls::Auto => tls.unwrap_or(false),
            WarmUpTls::On => true,
            WarmUpTls::Off => false,
        };
        let url = url(through, tls, path, settings)?;
        let method = match settings.method {
            WarmUpMethod::Get => Method::GET,
            WarmUpMethod::Head => Method::HEAD,
        };
        let client = client(address, through, &url, settings)?;
        Ok(Self { client, method, url, statuses: settings.statuses, timeout: settings.timeout })
    }

    /// How long a whole answer takes.
    async fn send(self) -> Result<Duration, Failure> {
        let start = Instant::now();
        let failure = |error: reqwest::Error| match error.is_timeout() {
            true => Failure::TimedOut(self.timeout),
            false => Failure::Broken(chain(&error.without_url())),
        };
        let mut answer = self.client.request(self.method, self.url).send().await.map_err(failure)?;
        let status = answer.status().as_u16();
        if !(self.statuses.0..=self.statuses.1).contains(&status) {
            return Err(Failure::Status(status));
        }
        while answer.chunk().await.map_err(failure)?.is_some() {}
        Ok(start.elapsed())
    }
}

/// The host in the URL is what SNI is made of; where requests go is left to `through`.
fn url(through: SocketAddr, tls: bool, path: &str, settings: &WarmUp) -> Result<Url, WarmUpError> {
    let scheme = if tls { "https" } else { "http" };
    let parse = |authority: &str| Url::parse(&format!("{scheme}://{authority}"));
    let bad = |what| move |_| WarmUpError::BadRequest { what };
    let mut url = parse(&through.to_string()).map_err(bad("path"))?;
    if let Some(name) = settings.sni.as_deref().or(settings.host.as_deref()).filter(|_| tls) {
        let what = if settings.sni.is_some() { "sni" } else { "host" };
        let named = parse(name).map_err(bad(what))?;
        // SNI has no place for addresses, and one here would send requests elsewhere.
        if let Some(domain) = named.domain() {
            url.set_host(Some(domain)).map_err(bad(what))?;
        }
    }
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    url.set_path(path);
    url.set_query(query);
    Ok(url)
}

fn client(
    address: SocketAddr,
    through: SocketAddr,
    url: &Url,
    settings: &WarmUp,
) -> Result<Client, WarmUpError> {
    // The first to install one wins; all that are installed in this program are the same.
    let _ = ring::default_provider().install_default();
    let host = settings.host.clone().unwrap_or_else(|| address.to_string());
    let host = HeaderValue::from_str(&host).map_err(|_| WarmUpError::BadRequest { what: "host" })?;
    let client = Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .tls_danger_accept_invalid_certs(true)
        .user_agent(USER_AGENT)
        .default_headers(HeaderMap::from_iter([(HOST, host)]))
        .timeout(settings.timeout)
        .resolve(url.host_str().unwrap_or_default(), through)
        .build();
    client.map_err(|error| WarmUpError::NoClient { reason: chain(&error) })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Long enough to be told from the noise of a busy machine.
    const SLOW: Duration = Duration::from_millis(40);

    /// What a server does with its n-th request, from 1: after how long it answers, and how.
    type Behaviour = fn(u32) -> (Duration, &'static str);

    struct Server {
        address: SocketAddr,
        requests: Arc<AtomicU32>,
        heads: Arc<std::sync::Mutex<Vec<String>>>,
    }

    impl Server {
        async fn start(behaviour: Behaviour) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
            let address = listener.local_addr().expect("it is bound");
            let (requests, heads) = (Arc::<AtomicU32>::default(), Arc::<std::sync::Mutex<_>>::default());
            let server = Self { address, requests: requests.clone(), heads: heads.clone() };
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(answer(stream, requests.clone(), heads.clone(), behaviour));
                }
            });
            server
        }

        fn first_head(&self) -> String {
            self.heads.lock().expect("nobody panics")[0].clone()
        }
    }

    async fn answer(
        stream: TcpStream,
        requests: Arc<AtomicU32>,
        heads: Arc<std::sync::Mutex<Vec<String>>>,
        behaviour: Behaviour,
    ) {
        let mut stream = BufReader::new(stream);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if !matches!(stream.read_line(&mut head).await, Ok(1..)) {
                    return;
                }
            }
            heads.lock().expect("nobody panics").push(head);
            let (delay, status) = behaviour(requests.fetch_add(1, Ordering::Relaxed) + 1);
            tokio::time::sleep(delay).await;
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nLocation: /elsewhere\r\n\r\n");
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    fn settings() -> WarmUp {
        WarmUp {
            path: Some("/warm?deep=1".to_owned()),
            method: WarmUpMethod::Get,
            host: None,
            tls: WarmUpTls::Auto,
            sni: None,
            requests: 10,
            concurrency: 1,
            timeout: Duration::from_secs(5),
            statuses: (200, 399),
            ramp: Duration::ZERO,
        }
    }

    #[tokio::test]
    async fn requests_go_on_until_the_server_gets_no_faster() {
        let server = Server::start(|n| (if n <= 6 { SLOW } else { Duration::ZERO }, "200 OK")).await;
        let warmth = warm_up(server.address, Way::default(), &settings()).await.expect("it is well");
        assert!(warmth.requests > 10, "it was still getting faster at 10: {warmth:?}");
        assert!(warmth.requests < 100 && warmth.first >= SLOW && warmth.last < SLOW, "{warmth:?}");
    }

    #[tokio::test]
    async fn a_server_that_is_warm_gets_no_more_than_what_was_asked_for() {
        // A tenth of this is more than the noise of a busy machine, and would count as getting faster.
        let server = Server::start(|_| (SLOW * 5, "200 OK")).await;
        let settings = WarmUp { concurrency: 4, requests: 12, ..settings() };
        let warmth = warm_up(server.address, Way::default(), &settings).await.expect("it is well");
        assert!((12..=12 + 4).contains(&warmth.requests), "{warmth:?}");
    }

    #[tokio::test]
    async fn a_server_that_gets_ever_faster_is_not_followed_for_ever() {
        let server = Server::start(|n| (SLOW * 4 / n, "200 OK")).await;
        let settings = WarmUp { requests: 2, ..settings() };
        let warmth = warm_up(server.address, Way::default(), &settings).await.expect("it is well");
        assert!((2..=20).contains(&warmth.requests), "{warmth:?}");
    }

    #[tokio::test]
    async fn the_request_says_who_sends_it_and_asks_for_what_is_configured() {
        let server = Server::start(|_| (Duration::ZERO, "200 OK")).await;
        let settings = WarmUp {
            method: WarmUpMethod::Head,
            host: Some("shop.example".to_owned()),
            sni: Some("ignored.example".to_owned()),
            requests: 1,
            ..settings()
        };
        warm_up(server.address, Way { tls: Some(false), proxy: None }, &settings).await.expect("it is well");
        let head = server.first_head().to_lowercase();
        assert!(head.starts_with("head /warm?deep=1 http/1.1\r\n"), "{head}");
        assert!(head.contains("host: shop.example\r\n"), "{head}");
        let agent = format!("user-agent: haproxy-autoscale/{} (warm-up)\r\n", env!("CARGO_PKG_VERSION"));
        assert!(head.contains(&agent), "{head}");
    }

    #[tokio::test]
    async fn without_a_host_the_address_is_sent() {
        let server = Server::start(|_| (Duration::ZERO, "200 OK")).await;
        warm_up(server.address, Way::default(), &settings()).await.expect("it is well");
        let head = server.first_head().to_lowercase();
        assert!(head.contains(&format!("host: {}\r\n", server.address)), "{head}");
    }

    #[tokio::test]
    async fn a_header_of_the_proxy_protocol_comes_first_and_the_request_is_the_same() {
        for (proxy, expected) in [
            (ProxyHeader::V1, "PROXY UNKNOWN\r\nGET /warm?deep=1 HTTP/1.1\r\n"),
            (ProxyHeader::V2, "\r\n\r\n"),
        ] {
            let server = Server::start(|_| (Duration::ZERO, "200 OK")).await;
            let way = Way { tls: None, proxy: Some(proxy) };
            warm_up(server.address, way, &settings()).await.expect("it is well");
            assert!(server.first_head().starts_with(expected), "{}", server.first_head());
            let host = format!("host: {}\r\n", server.address);
            let has_host = |head: &String| head.to_lowercase().contains(&host);
            assert!(server.heads.lock().expect("nobody panics").iter().any(has_host), "no {host}");
        }
    }

    #[tokio::test]
    async fn no_path_means_no_request() {
        let server = Server::start(|_| (Duration::ZERO, "200 OK")).await;
        let warmth = warm_up(server.address, Way::default(), &WarmUp { path: None, ..settings() }).await;
        assert_eq!(warmth, Ok(Warmth::default()));
        assert_eq!(server.requests.load(Ordering::Relaxed), 0);
    }

    /// Why a server of this behaviour is not warm.
    async fn failure(behaviour: Behaviour, settings: &WarmUp) -> Failure {
        let server = Server::start(behaviour).await;
        match warm_up(server.address, Way::default(), settings).await {
            Err(WarmUpError::Failing { last, .. }) => last,
            other => panic!("not a failing server: {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_server_that_answers_500_is_not_warm() {
        assert_eq!(failure(|_| (Duration::ZERO, "500 Oops"), &settings()).await, Failure::Status(500));
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_is_not_followed() {
        let only_200 = WarmUp { statuses: (200, 299), ..settings() };
        assert_eq!(failure(|_| (Duration::ZERO, "302 Found"), &only_200).await, Failure::Status(302));
    }

    #[tokio::test]
    async fn a_server_that_hangs_is_not_warm() {
        let timeout = Duration::from_millis(50);
        let settings = WarmUp { timeout, concurrency: 4, ..settings() };
        let hangs: Behaviour = |_| (Duration::from_secs(600), "200 OK");
        assert_eq!(failure(hangs, &settings).await, Failure::TimedOut(timeout));
    }

    #[tokio::test]
    async fn a_server_that_answers_too_seldom_is_not_warm() {
        let settings = WarmUp { requests: 1, concurrency: 100, ..settings() };
        assert_eq!(failure(|_| (Duration::ZERO, "500 Oops"), &settings).await, Failure::Status(500));
    }

    #[tokio::test]
    async fn two_failures_are_forgiven_to_a_cold_server() {
        let server =
            Server::start(|n| (Duration::ZERO, if n <= 2 { "503 Starting" } else { "200 OK" })).await;
        let warmth = warm_up(server.address, Way::default(), &settings()).await.expect("it is well");
        assert!(warmth.requests >= 10);
    }

    #[tokio::test]
    async fn a_port_nobody_listens_on_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("it is bound");
        drop(listener);
        let error = warm_up(address, Way::default(), &settings()).await.expect_err("nobody listens");
        assert!(error.to_string().contains("refused"), "{error}");
    }

    #[track_caller]
    fn check_url(address: &str, tls: bool, host: Option<&str>, sni: Option<&str>, expected: &str) {
        let settings = WarmUp { host: host.map(str::to_owned), sni: sni.map(str::to_owned), ..settings() };
        let address = address.parse().expect("an address");
        let url = url(address, tls, "/w", &settings).map(|url| url.to_string());
        assert_eq!(url, Ok(expected.to_owned()));
    }

    #[test]
    fn the_url_carries_the_name_for_sni_and_the_servers_own_port() {
        check_url("10.0.0.1:8080", false, Some("shop.example"), None, "http://10.0.0.1:8080/w");
        check_url("10.0.0.1:8443", true, None, None, "https://10.0.0.1:8443/w");
        check_url("10.0.0.1:8443", true, Some("shop.example"), None, "https://shop.example:8443/w");
        check_url("10.0.0.1:8443", true, Some("shop.example:99"), None, "https://shop.example:8443/w");
        check_url(
            "[::1]:8443",
            true,
            Some("shop.example"),
            Some("sni.example"),
            "https://sni.example:8443/w",
        );
    }

    #[test]
    fn an_address_in_place_of_a_name_sends_no_request_elsewhere() {
        check_url("10.0.0.1:8443", true, Some("10.9.9.9"), None, "https://10.0.0.1:8443/w");
        check_url("10.0.0.1:8443", true, None, Some("0x0a090909"), "https://10.0.0.1:8443/w");
    }
}
