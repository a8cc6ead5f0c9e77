//! A server between a store and its server, which does what networks and services do.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What happens to one request.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// It is done, and the answer is lost.
    LostAnswer,
    /// It is not done; the answer is this error.
    Error(u16, &'static str),
    /// Nobody answers.
    Hang,
}

#[derive(Default)]
struct Inner {
    faults: VecDeque<(&'static str, Fault)>,
    requests_by_operation: BTreeMap<String, usize>,
    /// Whether reads of an index are answered as they would have been one read before.
    lags: bool,
    last_answers: HashMap<String, Vec<u8>>,
    /// What records of a stream say, and what they should say.
    wordings: Vec<(&'static str, &'static str)>,
}

#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) url: String,
    inner: Arc<Mutex<Inner>>,
}

impl Proxy {
    pub(crate) async fn to(upstream: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let upstream = upstream.strip_prefix("http://").unwrap().to_owned();
        let proxy = Self { url, inner: Arc::default() };
        let inner = Arc::clone(&proxy.inner);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (inner, upstream) = (Arc::clone(&inner), upstream.clone());
                tokio::spawn(async move {
                    // A connection that breaks is what clients have to cope with.
                    let _ = serve(client, &upstream, &inner).await;
                });
            }
        });
        proxy
    }

    /// The next requests of `operation` meet these faults, one each.
    pub(crate) fn script(&self, operation: &'static str, faults: impl IntoIterator<Item = Fault>) {
        self.inner.lock().unwrap().faults.extend(faults.into_iter().map(|fault| (operation, fault)));
    }

    /// From now on reads of an index are one read behind.
    pub(crate) fn lag(&self) {
        self.inner.lock().unwrap().lags = true;
    }

    /// From now on records of a stream say the second where they say the first.
    pub(crate) fn reword(&self, wordings: &[(&'static str, &'static str)]) {
        self.inner.lock().unwrap().wordings.extend(wordings);
    }

    /// How many requests of each operation came, since this was last asked.
    pub(crate) fn requests(&self) -> BTreeMap<String, usize> {
        std::mem::take(&mut self.inner.lock().unwrap().requests_by_operation)
    }
}

/// A request as it came.
pub(crate) struct Request {
    bytes: Vec<u8>,
    head_end: usize,
    pub(crate) operation: String,
}

impl Request {
    /// Reads one; nothing where the connection ends before it.
    pub(crate) async fn read(client: &mut TcpStream) -> std::io::Result<Option<Self>> {
        let (mut bytes, mut chunk) = (Vec::new(), vec![0; 65_536]);
        let head_end = loop {
            let read = client.read(&mut chunk).await?;
            if read == 0 {
                return Ok(None);
            }
            bytes.extend(&chunk[..read]);
            if let Some(at) = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
        };
        let length: usize = header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        while bytes.len() < head_end + length {
            let read = client.read(&mut chunk).await?;
            bytes.extend(&chunk[..read]);
        }
        let operation = header("x-amz-target").unwrap_or_default().rsplit('.').next().unwrap_or_default().to_owned();
        Ok(Some(Self { bytes, head_end, operation }))
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.bytes[self.head_end..]
    }
}

/// One request, one answer, and the end of the connection.
async fn serve(mut client: TcpStream, upstream: &str, inner: &Mutex<Inner>) -> std::io::Result<()> {
    let Some(request) = Request::read(&mut client).await? else { return Ok(()) };
    let operation = &request.operation;
    let fault = {
        let mut inner = inner.lock().unwrap();
        *inner.requests_by_operation.entry(operation.clone()).or_default() += 1;
        let at = inner.faults.iter().position(|(of, _)| of == operation);
        at.and_then(|at| inner.faults.remove(at)).map(|(_, fault)| fault)
    };
    match fault {
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Error(status, body)) => return client.write_all(&response(status, body)).await,
        Some(Fault::LostAnswer) | None => {}
    }
    let mut server = TcpStream::connect(upstream).await?;
    let line_end = request.bytes.windows(2).position(|bytes| bytes == b"\r\n").unwrap_or(0) + 2;
    server.write_all(&request.bytes[..line_end]).await?;
    server.write_all(b"connection: close\r\n").await?;
    server.write_all(&request.bytes[line_end..]).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    if matches!(fault, Some(Fault::LostAnswer)) {
        return Ok(());
    }
    let wordings = inner.lock().unwrap().wordings.clone();
    if operation == "GetRecords" && !wordings.is_empty() {
        let text = String::from_utf8(answer).unwrap();
        let body = text.split_once("\r\n\r\n").unwrap().1;
        let body = wordings.iter().fold(body.to_owned(), |body, (from, to)| body.replace(from, to));
        answer = response(200, &body);
    }
    let body = request.body();
    if body.windows(11).any(|bytes| bytes == b"\"IndexName\"") {
        let mut inner = inner.lock().unwrap();
        if inner.lags {
            // The order of names in a request is random.
            let mut question: serde_json::Value = serde_json::from_slice(body).unwrap();
            question.sort_all_objects();
            let question = question.to_string();
            let before = inner.last_answers.insert(question, answer);
            answer = before.unwrap_or_else(|| response(200, r#"{"Count":0,"Items":[],"ScannedCount":0}"#));
        }
    }
    client.write_all(&answer).await
}

pub(crate) fn response(status: u16, body: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} Said\r\ncontent-type: application/x-amz-json-1.0\r\nconnection: close\r\n");
    format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
