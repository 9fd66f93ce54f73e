//! The fields of a log line, by the names that people read: HAProxy's own where it has one.

use std::fmt;

/// A field of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// Address of the client, `%ci`.
    ClientIp,
    /// Port of the client, `%cp`.
    ClientPort,
    /// When the request began (`%tr`, httplog) or the connection was accepted (`%t`, tcplog).
    AcceptDate,
    /// Frontend, `%ft`, without the `~`.
    Frontend,
    /// The `~` behind the frontend: the client spoke TLS.
    Ssl,
    /// Backend, `%b`.
    Backend,
    /// Server, `%s`.
    Server,
    /// Accept to the end of the request's headers, `%Tq`: what HAProxy had before 1.7 for TR.
    Tq,
    /// Receiving the request, `%TR`.
    TR,
    /// Waiting in queues, `%Tw`.
    Tw,
    /// Connecting, `%Tc`.
    Tc,
    /// The server's answer up to its last header, `%Tr`.
    Tr,
    /// First byte of the request to the last of the response, `%Ta`.
    Ta,
    /// Accept to close, `%Tt`.
    Tt,
    /// HTTP status, `%ST`.
    Status,
    /// Bytes to the client, `%B`.
    Bytes,
    /// The client's captured cookie, `%CC`.
    RequestCookie,
    /// The server's captured cookie, `%CS`.
    ResponseCookie,
    /// How the session ended, `%ts` or `%tsc`.
    TerminationState,
    /// Connections of the process, `%ac`.
    Actconn,
    /// Connections of the frontend, `%fc`.
    Feconn,
    /// Streams of the backend, `%bc`.
    Beconn,
    /// Streams of the server, `%sc`.
    SrvConn,
    /// Connection retries, `%rc`.
    Retries,
    /// The `+` before the retries: another server was tried before this one.
    Redispatched,
    /// Requests before this one in the server's queue, `%sq`.
    SrvQueue,
    /// Requests before this one in the backend's queue, `%bq`.
    BackendQueue,
    /// Captured request headers, `%hr`, without the braces.
    RequestCaptures,
    /// Captured response headers, `%hs`, without the braces.
    ResponseCaptures,
    /// First word of the request line.
    Method,
    /// The request's target, query included.
    Path,
    /// Last word of the request line.
    HttpVersion,
    /// `%[fc_err]` of httpslog.
    FcErr,
    /// `%[ssl_fc_err,hex]` of httpslog.
    SslFcErr,
    /// `%[ssl_c_err]` of httpslog.
    SslCErr,
    /// `%[ssl_c_ca_err]` of httpslog.
    SslCCaErr,
    /// `%[ssl_fc_is_resumed]` of httpslog.
    SslFcIsResumed,
    /// `%[ssl_fc_sni]` of httpslog.
    Sni,
    /// `%sslv` of httpslog.
    SslVersion,
    /// `%sslc` of httpslog.
    SslCipher,
}

impl Field {
    /// Every field, in the order of a line.
    pub const ALL: [Self; 40] = [
        Self::ClientIp,
        Self::ClientPort,
        Self::AcceptDate,
        Self::Frontend,
        Self::Ssl,
        Self::Backend,
        Self::Server,
        Self::Tq,
        Self::TR,
        Self::Tw,
        Self::Tc,
        Self::Tr,
        Self::Ta,
        Self::Tt,
        Self::Status,
        Self::Bytes,
        Self::RequestCookie,
        Self::ResponseCookie,
        Self::TerminationState,
        Self::Actconn,
        Self::Feconn,
        Self::Beconn,
        Self::SrvConn,
        Self::Retries,
        Self::Redispatched,
        Self::SrvQueue,
        Self::BackendQueue,
        Self::RequestCaptures,
        Self::ResponseCaptures,
        Self::Method,
        Self::Path,
        Self::HttpVersion,
        Self::FcErr,
        Self::SslFcErr,
        Self::SslCErr,
        Self::SslCCaErr,
        Self::SslFcIsResumed,
        Self::Sni,
        Self::SslVersion,
        Self::SslCipher,
    ];

    /// Its name, as in JSON output and as a named group of a configured regex.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientIp => "client_ip",
            Self::ClientPort => "client_port",
            Self::AcceptDate => "accept_date",
            Self::Frontend => "frontend",
            Self::Ssl => "ssl",
            Self::Backend => "backend",
            Self::Server => "server",
            Self::Tq => "Tq",
            Self::TR => "TR",
            Self::Tw => "Tw",
            Self::Tc => "Tc",
            Self::Tr => "Tr",
            Self::Ta => "Ta",
            Self::Tt => "Tt",
            Self::Status => "status",
            Self::Bytes => "bytes",
            Self::RequestCookie => "request_cookie",
            Self::ResponseCookie => "response_cookie",
            Self::TerminationState => "termination_state",
            Self::Actconn => "actconn",
            Self::Feconn => "feconn",
            Self::Beconn => "beconn",
            Self::SrvConn => "srv_conn",
            Self::Retries => "retries",
            Self::Redispatched => "redispatched",
            Self::SrvQueue => "srv_queue",
            Self::BackendQueue => "backend_queue",
            Self::RequestCaptures => "request_captures",
            Self::ResponseCaptures => "response_captures",
            Self::Method => "method",
            Self::Path => "path",
            Self::HttpVersion => "http_version",
            Self::FcErr => "fc_err",
            Self::SslFcErr => "ssl_fc_err",
            Self::SslCErr => "ssl_c_err",
            Self::SslCCaErr => "ssl_c_ca_err",
            Self::SslFcIsResumed => "ssl_fc_is_resumed",
            Self::Sni => "sni",
            Self::SslVersion => "ssl_version",
            Self::SslCipher => "ssl_cipher",
        }
    }

    /// The field of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a field holds, still borrowed from the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// The bytes as HAProxy wrote them, its `#22` escapes included; not always UTF-8.
    Text(&'a [u8]),
    /// A whole number: milliseconds, bytes or a count.
    Number(i64),
    /// Something that is there or not.
    Flag(bool),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_found_by_its_own_name() {
        for field in Field::ALL {
            assert_eq!(Field::from_name(field.name()), Some(field));
        }
        assert_eq!(Field::from_name("tr"), None, "TR and Tr differ, so case matters");
    }
}
