//! Servers in this process, each on a thread of its own, so that a test may block.

use std::{io, net::Ipv4Addr};

use ferrokinesis::store::StoreOptions;
use tokio::{net::TcpListener, runtime::Runtime};

/// A server in this process, which ends with this value.
#[derive(Debug)]
pub struct InProcess {
    runtime: Option<Runtime>,
    /// Where it listens.
    pub url: String,
}

impl Drop for InProcess {
    fn drop(&mut self) {
        // A runtime must not wait for its end where it is dropped in another one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl InProcess {
    /// Runs what serves a listener on a free port.
    pub(crate) fn start<S>(serve: impl FnOnce(TcpListener) -> S + Send + 'static) -> io::Result<Self>
    where
        S: Future + Send + 'static,
    {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let runtime = one_thread()?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        runtime.spawn(async move {
            serve(listener).await;
        });
        Ok(Self { runtime: Some(runtime), url })
    }
}

pub(crate) fn one_thread() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()
}

/// Starts an empty ferrokinesis, which answers for Kinesis.
///
/// # Errors
/// No port, or no thread.
pub fn kinesis(options: StoreOptions) -> io::Result<InProcess> {
    InProcess::start(|listener| async {
        let (app, _) = ferrokinesis::create_app(options);
        axum::serve(listener, app).await
    })
}

/// Options with which streams change at once, up to a hundred shards.
pub fn quick_kinesis() -> StoreOptions {
    StoreOptions {
        create_stream_ms: 0,
        delete_stream_ms: 0,
        update_stream_ms: 0,
        shard_limit: 100,
        ..StoreOptions::default()
    }
}

/// Starts an empty dynoxide, which answers for DynamoDB.
///
/// # Errors
/// No port, no thread, or no database in memory.
pub fn dynamodb() -> io::Result<InProcess> {
    let tables = dynoxide::Database::memory().map_err(io::Error::other)?;
    InProcess::start(|listener| dynoxide::server::serve_on(listener, tables))
}
