//! Arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    haproxy_autoscale::cli::main()
}
