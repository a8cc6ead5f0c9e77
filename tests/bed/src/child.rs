//! Servers in processes of their own.

use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long a server may take until it listens.
const START_MAX: Duration = Duration::from_secs(90);
const TRIES: u32 = 3;

/// A server in a process of its own, which ends with this value.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it listens.
    pub url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to do about it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the command for a free port, and waits until it listens. `Err` tells why it does not.
pub(crate) fn start(name: &str, command: impl Fn(u16) -> Command) -> Result<Server, String> {
    let mut why = String::new();
    // Somebody else may take the port in between; then the server ends, and the next port is tried.
    for _ in 0..TRIES {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        let port = port.map_err(|error| error.to_string())?.port();
        let child = command(port)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{name} cannot be run: {error}"))?;
        let mut server = Server { child, url: format!("http://127.0.0.1:{port}") };
        match listens(&mut server.child, port) {
            Ok(()) => return Ok(server),
            Err(told) => why = format!("{name} {told}"),
        }
    }
    Err(why)
}

fn listens(child: &mut Child, port: u16) -> Result<(), String> {
    let began = Instant::now();
    while began.elapsed() < START_MAX {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Err(format!("ended: {status}"));
        }
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err("did not listen in time".to_owned())
}
