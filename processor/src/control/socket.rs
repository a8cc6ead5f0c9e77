//! The socket in the data folder: one question as a line of JSON, one answer as a line of JSON. Only the user of the
//! service, and root, can open it; who asks is what the kernel says of the caller.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

use super::{ControlReply, ControlRequest};

/// The socket's name in the data folder.
const NAME: &str = "control.sock";
/// The longest question, in bytes.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;
/// The longest answer, in bytes.
const REPLY_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How long a question or an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many questions wait at the most.
const WAITING_MAX: usize = 16;

/// A question that waits for its answer.
pub struct Asked {
    /// The question.
    pub request: ControlRequest,
    /// Who asks.
    pub who: Arc<str>,
    /// Where the answer goes.
    pub reply: oneshot::Sender<ControlReply>,
}

/// Why a service cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no service.
    #[error("no service answers at {}: {source}; is it running, with this data folder?", path.display())]
    Absent {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The socket cannot be made.
    #[error("the socket {} cannot be made: {source}", path.display())]
    Bind {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The conversation broke off.
    #[error("the service at {} gave no answer: {why}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// Takes questions; the socket is gone when this is.
pub struct ControlSocket {
    path: PathBuf,
    questions: mpsc::Receiver<Asked>,
    stop: CancellationToken,
}

impl ControlSocket {
    /// Listens in the data folder, which this process has to itself.
    ///
    /// # Errors
    /// [`ControlError::Bind`].
    pub fn open(dir: &Path) -> Result<Self, ControlError> {
        let path = dir.join(NAME);
        let fail = |source| ControlError::Bind { path: path.clone(), source };
        // One that a killed service has left: the store's lock says that no other runs here.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(fail)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(fail)?;
        let (sender, questions) = mpsc::channel(WAITING_MAX);
        let stop = CancellationToken::new();
        tokio::spawn(listen(listener, sender, stop.clone()));
        Ok(Self { path, questions, stop })
    }

    /// The next question. Never ends.
    pub async fn next(&mut self) -> Asked {
        match self.questions.recv().await {
            Some(asked) => asked,
            None => std::future::pending().await,
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.stop.cancel();
        let _ = fs::remove_file(&self.path);
    }
}

async fn listen(listener: UnixListener, questions: mpsc::Sender<Asked>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let questions = questions.clone();
                tokio::spawn(async move {
                    if let Ok(Err(error)) = tokio::time::timeout(PATIENCE, converse(stream, questions)).await {
                        tracing::warn!(%error, "a question was not answered");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket fails");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, questions: mpsc::Sender<Asked>) -> io::Result<()> {
    let who: Arc<str> = format!("uid {}", stream.peer_cred()?.uid()).into();
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reading.take(REQUEST_BYTES_MAX)).read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Err(error) => ControlReply::Refused(format!("the question cannot be read: {error}")),
        Ok(request) => {
            let (reply, answer) = oneshot::channel();
            let asked = questions.send(Asked { request, who, reply }).await;
            let answer = if asked.is_ok() { answer.await.ok() } else { None };
            answer.unwrap_or_else(|| ControlReply::Refused("the service stops".to_owned()))
        }
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    writing.write_all(&text).await?;
    writing.shutdown().await
}

/// Asks the service that runs with a data folder.
///
/// # Errors
/// [`ControlError`] where there is none, or no answer.
pub async fn ask(dir: &Path, request: &ControlRequest) -> Result<ControlReply, ControlError> {
    let path = dir.join(NAME);
    let broken = |why: String| ControlError::Broken { path: path.clone(), why };
    let stream = UnixStream::connect(&path).await;
    let stream = stream.map_err(|source| ControlError::Absent { path: path.clone(), source })?;
    let talk = async {
        let (reading, mut writing) = stream.into_split();
        let mut text = serde_json::to_vec(request)?;
        text.push(b'\n');
        writing.write_all(&text).await?;
        let mut line = String::new();
        BufReader::new(reading.take(REPLY_BYTES_MAX)).read_line(&mut line).await?;
        io::Result::Ok(line)
    };
    let line = tokio::time::timeout(PATIENCE, talk).await.map_err(|_| broken("it takes too long".to_owned()))?;
    let line = line.map_err(|error| broken(error.to_string()))?;
    serde_json::from_str(&line).map_err(|error| broken(error.to_string()))
}
