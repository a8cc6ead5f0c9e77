//! Routes on one machine: a webhook and a file, told by the program as people start it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
};

use serde_json::Value;

use crate::child::{Running, command, events, feed, finish, summary, text, wait_for, write_lines};

/// What came, as headers and body.
type Got = Arc<Mutex<Vec<(BTreeMap<String, String>, String)>>>;

/// A receiver that takes the first of these statuses for its first answer, and so on; then 200.
fn receiver(statuses: Vec<u16>) -> (Got, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let got = Got::default();
    let (kept, statuses) = (Arc::clone(&got), Arc::new(Mutex::new(statuses.into_iter())));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (kept, statuses) = (Arc::clone(&kept), Arc::clone(&statuses));
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                while let Some(request) = request(&mut BufReader::new(stream.try_clone().unwrap())) {
                    let status = statuses.lock().unwrap().next().unwrap_or(200);
                    kept.lock().unwrap().push(request);
                    answer(&mut stream, status);
                }
            });
        }
    });
    (got, url)
}

fn request(reader: &mut BufReader<TcpStream>) -> Option<(BTreeMap<String, String>, String)> {
    let mut headers = BTreeMap::new();
    let mut line = String::new();
    while reader.read_line(&mut line).ok()? > 0 && line != "\r\n" {
        if let Some((name, value)) = line.trim_end().split_once(": ") {
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        line.clear();
    }
    let mut body = vec![0; headers.get("content-length")?.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    Some((headers, String::from_utf8(body).unwrap()))
}

fn answer(stream: &mut TcpStream, status: u16) {
    let _ = write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
}

fn configuration(folder: &Path, routes: &str) -> String {
    let file = folder.join("sessionwarden.toml");
    fs::write(&file, routes).unwrap();
    file.to_str().unwrap().to_owned()
}

fn ids(lines: &str) -> BTreeSet<String> {
    let objects = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    objects.flat_map(|object| told(&object)).collect()
}

/// What a message tells of: itself, or all that a digest names.
fn told(object: &Value) -> Vec<String> {
    let one = |id: &Value| id.as_str().unwrap().to_owned();
    match object["ids"].as_array() {
        Some(ids) => ids.iter().map(one).collect(),
        None => vec![one(&object["id"])],
    }
}

// R-G11 R-W2 R-W3: everybody is told of everything that concerns them, once, whatever a destination answers.
#[test]
fn a_run_over_files_tells_its_routes() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("e.jsonl");
    write_lines(&source, &events(300));
    let (got, url) = receiver(vec![400]);
    fs::write(folder.path().join("key"), "a key of more than 16 bytes\n").unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let config = configuration(
        folder.path(),
        &format!(
            "[routes.hook]\nto = \"webhook\"\nurl = \"{url}\"\nsecret = \"file:{}\"\nkinds = [\"finding\"]\nburst = 5\n\
             [routes.all]\nto = \"file\"\npath = \"{}\"\nburst = 10_000\n",
            path("key"),
            path("told.jsonl"),
        ),
    );
    let data = folder.path().join("data");
    let run = || {
        let args = ["--config", &config, "--source", source.to_str().unwrap(), "--format", "json"];
        finish(command(&data, &args))
    };
    let output = run();
    let (_, code) = summary(&output);
    assert_eq!(code, 0, "{}", text(&output.stderr));
    let reported = feed(&data.join("feed.ocsf.jsonl")).into_keys();
    let reported: BTreeSet<String> = reported.map(|uid| uid.trim_end_matches("#planned").to_owned()).collect();
    let all = fs::read_to_string(folder.path().join("told.jsonl")).unwrap();
    let objects: Vec<Value> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(objects.len() > 10, "{all}");
    assert_eq!(ids(&all).len(), objects.len(), "each once");
    assert!(ids(&all).is_subset(&reported), "what people are told is in the feed");

    // The first was refused, and is a dead letter; the others came, the many in digests.
    let letters = fs::read_to_string(data.join("dead-letters.jsonl")).unwrap();
    let letter: Value = serde_json::from_str(letters.trim_end()).unwrap();
    assert_eq!((&letter["route"], &letter["reason"]), (&"hook".into(), &"refused: status 400".into()));
    let bodies: Vec<Value> = got.lock().unwrap().iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect();
    assert!(bodies.iter().any(|body| body["kind"] == "digest"), "{bodies:#?}");
    let came: BTreeSet<String> = bodies.iter().flat_map(told).collect();
    let findings: BTreeSet<String> =
        objects.iter().filter(|object| object["kind"] == "finding").flat_map(told).collect();
    assert_eq!(came, findings);
    assert!(came.contains(letter["message"]["id"].as_str().unwrap()));
    for (headers, body) in got.lock().unwrap().iter() {
        let signature = &headers["sessionwarden-signature"];
        assert!(signature.starts_with("t=1") && signature.contains(",v1="), "{signature}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(headers["sessionwarden-id"], body["id"].as_str().unwrap());
    }
    let stderr = text(&output.stderr);
    assert!(!stderr.contains("a key of more") && !stderr.contains("/hook"), "{stderr}");

    // Nothing is left to tell.
    let before = got.lock().unwrap().len();
    run();
    assert_eq!(got.lock().unwrap().len(), before);
    assert_eq!(fs::read_to_string(folder.path().join("told.jsonl")).unwrap(), all);
}

// R-W3: what could not be sent is sent by the next run.
#[test]
fn what_was_not_sent_waits_for_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("e.jsonl");
    write_lines(&source, &events(100));
    fs::write(folder.path().join("key"), "a key of more than 16 bytes").unwrap();
    let data = folder.path().join("data");
    let run = |url: &str, more: &[&str]| {
        let key = folder.path().join("key").display().to_string();
        let text = format!("[routes.hook]\nto = \"webhook\"\nurl = \"{url}\"\nsecret = \"file:{key}\"\n");
        let config = configuration(folder.path(), &text);
        let args = ["--config", &config, "--source", source.to_str().unwrap(), "--format", "json"];
        Running::start(command(&data, &args).args(more))
    };
    assert_eq!(summary(&run("http://127.0.0.1:1/hook", &[]).end()).1, 0);
    assert_eq!(fs::read_to_string(data.join("dead-letters.jsonl")).unwrap(), "");
    let (got, url) = receiver(Vec::new());
    let running = run(&url, &["--follow"]);
    // Not before the wait after the failure is over.
    wait_for("what was not sent", || !got.lock().unwrap().is_empty());
    running.signal("INT");
    assert_eq!(summary(&running.end()).1, 0);
}

#[test]
fn a_route_that_cannot_be_opened_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    for (routes, why) in [
        ("[routes.bus]\nto = \"eventbridge\"\nbus = \"security\"\n", "which needs the backend \"aws\""),
        (
            "[routes.hook]\nto = \"webhook\"\nurl = \"https://hooks.example/\"\nsecret = \"env:NO_SUCH\"\n",
            "route `hook`: the secret env:NO_SUCH is not set",
        ),
        ("[routes.f]\nto = \"file\"\npath = \"/no-such-folder/f\"\n", "route `f`: cannot open /no-such-folder/f"),
    ] {
        let config = configuration(folder.path(), routes);
        let output = finish(command(&folder.path().join("data"), &["--config", &config, "--for", "1s"]));
        assert_eq!(output.status.code(), Some(2), "{routes}");
        assert!(text(&output.stderr).contains(why), "{}", text(&output.stderr));
    }
}
