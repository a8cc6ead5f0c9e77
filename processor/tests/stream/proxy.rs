//! Between the reader and the stream: connections that break or go silent, and the limits of AWS that the server lacks.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    body::to_bytes,
    extract::Request,
    http::{StatusCode, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use ferrokinesis::{
    actions::subscribe_to_shard,
    store::{Store, StoreOptions},
};
use serde_json::{Value, json};
use sessionwarden_machine::lease::SequenceNumber;
use tokio::{io::copy_bidirectional, net::TcpStream};
use tokio_util::sync::CancellationToken;

use super::bed::listen;

/// Passes connections on to a server.
pub(crate) struct Proxy {
    pub(crate) url: String,
    cut: Arc<Mutex<CancellationToken>>,
    silent: Arc<Mutex<CancellationToken>>,
}

impl Proxy {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let (listener, url) = listen().await;
        let (cut, silent) = (Arc::<Mutex<CancellationToken>>::default(), Arc::<Mutex<CancellationToken>>::default());
        let proxy = Self { url, cut: Arc::clone(&cut), silent: Arc::clone(&silent) };
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (cut, silent) = (cut.lock().unwrap().clone(), silent.lock().unwrap().clone());
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        () = cut.cancelled() => {}
                        () = silent.cancelled() => cut.cancelled().await,
                    }
                });
            }
        });
        proxy
    }

    /// Ends all connections of now.
    pub(crate) fn cut(&self) {
        std::mem::take(&mut *self.cut.lock().unwrap()).cancel();
    }

    /// Nothing passes any more on the connections of now, which stay open.
    pub(crate) fn silence(&self) {
        std::mem::take(&mut *self.silent.lock().unwrap()).cancel();
    }
}

/// A call of `SubscribeToShard`.
#[derive(Clone, Debug)]
pub(crate) struct Subscribed {
    pub(crate) shard: String,
    /// `StartingPosition`: `Type`.
    pub(crate) kind: String,
    /// `StartingPosition`: `SequenceNumber`.
    pub(crate) number: Option<SequenceNumber>,
    pub(crate) refused: bool,
}

/// Stands before the server: sees each `SubscribeToShard`, and has the limit that the server lacks.
///
/// The server's own way in drops all of `StartingPosition` but its `Type`, so that each subscription would begin at the
/// shard's first record. What this lets pass goes to the server's implementation directly, which honours it.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    calls: Arc<Mutex<Vec<Subscribed>>>,
    last: Arc<Mutex<BTreeMap<String, Instant>>>,
    apart: Duration,
}

impl Gate {
    /// Refuses a subscription to a shard so soon after the last one: 5 s in AWS.
    pub(crate) fn apart(apart: Duration) -> Self {
        Self { apart, ..Self::default() }
    }

    pub(crate) fn calls(&self) -> Vec<Subscribed> {
        self.calls.lock().unwrap().clone()
    }

    /// A server behind this gate.
    pub(crate) fn server(&self, options: StoreOptions) -> axum::Router {
        let (app, store) = ferrokinesis::create_app(options);
        let gate = self.clone();
        app.layer(from_fn(move |request: Request, next: Next| {
            let (gate, store) = (gate.clone(), store.clone());
            async move { gate.pass(&store, request, next).await }
        }))
    }

    async fn pass(&self, store: &Store, request: Request, next: Next) -> Response {
        let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
        if !target.is_some_and(|target| target.ends_with(".SubscribeToShard")) {
            return next.run(request).await;
        }
        let body = to_bytes(request.into_body(), 1 << 20).await.unwrap();
        let asked: Value = serde_json::from_slice(&body).unwrap();
        let shard = asked["ShardId"].as_str().unwrap().to_owned();
        let kind = asked["StartingPosition"]["Type"].as_str().unwrap().to_owned();
        let number = asked["StartingPosition"]["SequenceNumber"].as_str();
        let number = number.map(|number| SequenceNumber::parse(number).unwrap());
        let refused = {
            let mut last = self.last.lock().unwrap();
            let refused = last.get(&shard).is_some_and(|last| last.elapsed() < self.apart);
            if !refused {
                last.insert(shard.clone(), Instant::now());
            }
            refused
        };
        self.calls.lock().unwrap().push(Subscribed { shard, kind, number, refused });
        if refused {
            let error = json!({ "__type": "ResourceInUseException", "message": "Another active subscription exists." });
            return (StatusCode::BAD_REQUEST, error.to_string()).into_response();
        }
        match subscribe_to_shard::execute_streaming(store, asked, "application/x-amz-json-1.1").await {
            Ok(events) => ([(header::CONTENT_TYPE, "application/vnd.amazon.eventstream")], events).into_response(),
            Err(error) => {
                let status = StatusCode::from_u16(error.status_code).unwrap();
                (status, serde_json::to_string(&error.body).unwrap()).into_response()
            }
        }
    }
}
