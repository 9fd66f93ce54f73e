//! The options of a `server` or `default-server` line: where each ends, and what it undoes.

/// Whether the server option `word` has a value behind it (configuration manual 5.2, HAProxy 2.2 to 3.2), which
/// may look like another option: `cookie disabled`.
pub(crate) fn takes_value(word: &str) -> bool {
    const WITH_VALUE: [&str; 71] = [
        "addr",
        "agent-addr",
        "agent-inter",
        "agent-port",
        "agent-send",
        "alpn",
        "ca-file",
        "check-alpn",
        "check-pool-conn-name",
        "check-proto",
        "check-sni",
        "ciphers",
        "ciphersuites",
        "client-sigalgs",
        "cookie",
        "crl-file",
        "crt",
        "curves",
        "downinter",
        "error-limit",
        "fall",
        "fastinter",
        "guid",
        "hash-key",
        "id",
        "idle-ping",
        "init-addr",
        "init-state",
        "inter",
        "interface",
        "log-bufsize",
        "log-proto",
        "max-reuse",
        "maxconn",
        "maxqueue",
        "minconn",
        "namespace",
        "npn",
        "observe",
        "on-error",
        "on-marked-down",
        "on-marked-up",
        "pool-conn-name",
        "pool-low-conn",
        "pool-max-conn",
        "pool-purge-delay",
        "port",
        "proto",
        "proxy-v2-options",
        "redir",
        "resolve-net",
        "resolve-opts",
        "resolve-prefer",
        "resolvers",
        "rise",
        "set-proxy-v2-tlv-fmt",
        "shard",
        "sigalgs",
        "slowstart",
        "sni",
        "socks4",
        "source",
        "ssl-max-ver",
        "ssl-min-ver",
        "tcp-ut",
        "track",
        "usesrc",
        "verify",
        "verifyhost",
        "weight",
        "ws",
    ];
    let name = word.split_once('(').map_or(word, |(name, _)| name);
    WITH_VALUE.contains(&name)
}

/// `words` cut into options, each with its value.
pub(crate) fn options<S: AsRef<str>>(words: &[S]) -> impl Iterator<Item = &[S]> {
    let mut rest = words;
    std::iter::from_fn(move || {
        let length = if takes_value(rest.first()?.as_ref()) { 2 } else { 1 };
        let (option, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        Some(option)
    })
}

/// What `option` takes away of those before it, and is nothing besides: HAProxy takes it in its configuration, and not for
/// servers that are added (seen on HAProxy 2.6 to 3.2). `None` for all others.
pub(crate) fn undone_by(option: &str) -> Option<&'static [&'static str]> {
    const PROXY_V2: &[&str] = &["send-proxy-v2", "send-proxy-v2-ssl", "send-proxy-v2-ssl-cn"];
    match option {
        "no-agent-check" => Some(&["agent-check"]),
        "no-check" => Some(&["check"]),
        "no-check-send-proxy" => Some(&["check-send-proxy"]),
        "no-check-ssl" => Some(&["check-ssl"]),
        "no-send-proxy-v2-ssl" | "no-send-proxy-v2-ssl-cn" => Some(PROXY_V2),
        "no-ssl" => Some(&["ssl"]),
        "ssl-reuse" => Some(&["no-ssl-reuse"]),
        "stick" => Some(&["non-stick"]),
        _ => None,
    }
}
