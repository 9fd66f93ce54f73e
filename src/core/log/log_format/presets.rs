//! The formats that HAProxy has names for.

/// `option httplog`; `HAPROXY_HTTP_LOG_FMT` in the configuration of HAProxy 2.8 and later.
const HTTP: &str = "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %{+Q}r";

/// `option httpslog`.
const HTTPS: &str = "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %{+Q}r \
     %[fc_err]/%[ssl_fc_err,hex]/%[ssl_c_err]/%[ssl_c_ca_err]/%[ssl_fc_is_resumed] %[ssl_fc_sni]/%sslv/%sslc";

/// `option tcplog`.
const TCP: &str = "%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq";

/// `option httplog clf`.
const HTTP_CLF: &str = "%{+Q}o %{-Q}ci - - [%trg] %r %ST %B \"\" \"\" %cp %ms %ft %b %s %TR %Tw %Tc %Tr %Ta %tsc %ac %fc %bc \
     %sc %rc %sq %bq %CC %CS %hrl %hsl";

/// `option tcplog clf`, HAProxy 3.1 and later.
const TCP_CLF: &str = "%{+Q}o %{-Q}ci - - [%T] \"TCP \" 000 %B \"\" \"\" %cp %ms %ft %b %s %Th %Tw %Tc %Tt %U %tsc %ac %fc \
     %bc %sc %rc %sq %bq \"\" \"\" ";

/// The value of a variable that HAProxy itself sets (configuration manual 2.4 and 8.2); `None` for others.
pub(in crate::core::log) fn variable(name: &str) -> Option<String> {
    let value = match name {
        "HAPROXY_HTTP_LOG_FMT" => HTTP,
        "HAPROXY_HTTPS_LOG_FMT" => HTTPS,
        "HAPROXY_TCP_LOG_FMT" => TCP,
        "HAPROXY_HTTP_CLF_LOG_FMT" => HTTP_CLF,
        "HAPROXY_TCP_CLF_LOG_FMT" => TCP_CLF,
        _ => return None,
    };
    Some(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::CompiledFormat;

    #[test]
    fn formats_with_names_can_be_read() {
        for name in ["HTTP", "HTTPS", "TCP", "HTTP_CLF", "TCP_CLF"] {
            let format = format!("\"$HAPROXY_{name}_LOG_FMT %[var(txn.a)]\"");
            assert!(CompiledFormat::new(&format).is_ok(), "{format}");
        }
    }
}
