//! ministack with what it needs for CloudWatch, set up from a locked list on first use, on a free port of this machine.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

const START_MAX: Duration = Duration::from_secs(90);
const TRIES: u32 = 3;

/// A server, which ends with this value.
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lists() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/tools/outbound")
}

/// The virtual environment, below the build's folder. `Err` tells what is missing.
fn environment() -> Result<PathBuf, String> {
    static DONE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    DONE.get_or_init(set_up).clone()
}

fn set_up() -> Result<PathBuf, String> {
    let list = lists().join("requirements.txt");
    let wanted = fs::read(&list).map_err(|error| error.to_string())?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outbound-tools");
    let installed = folder.join("installed.txt");
    if fs::read(&installed).is_ok_and(|done| done == wanted) {
        return Ok(folder);
    }
    let run = |program: &Path, arguments: &[&str]| {
        let done = Command::new(program).args(arguments).stdin(Stdio::null()).output();
        let done = done.map_err(|error| format!("{} cannot be run: {error}", program.display()))?;
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        if done.status.success() { Ok(()) } else { Err(format!("{} {arguments:?}: {told}", program.display())) }
    };
    run(Path::new("python3"), &["-m", "venv", "--clear", &folder.to_string_lossy()])?;
    let python = folder.join("bin/python");
    let list = list.to_string_lossy();
    run(&python, &["-m", "pip", "install", "--quiet", "--no-input", "--require-hashes", "--requirement", &list])?;
    fs::write(&installed, wanted).map_err(|error| error.to_string())?;
    Ok(folder)
}

/// ministack, for which an access key of twelve digits is an account.
pub(crate) fn ministack() -> Result<Server, String> {
    let folder = environment()?;
    let mut told = "ministack did not listen in time".to_owned();
    for _ in 0..TRIES {
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).map_err(|error| error.to_string())?;
        let port = port.port();
        let child = Command::new(folder.join("bin/ministack"))
            .envs([("BIND_HOST", "127.0.0.1"), ("IOT_MTLS_ENABLED", "0")])
            .env("GATEWAY_PORT", port.to_string())
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("ministack cannot be run: {error}"))?;
        let mut server = Server { child, url: format!("http://127.0.0.1:{port}") };
        let began = Instant::now();
        while began.elapsed() < START_MAX {
            // Somebody else may have taken the port meanwhile.
            if let Ok(Some(ended)) = server.child.try_wait() {
                told = format!("ministack ended: {ended}");
                break;
            }
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Err(told)
}
