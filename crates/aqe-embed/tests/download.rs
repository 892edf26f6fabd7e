//! Fetching the model, from a server of the test's own.
#![cfg(feature = "download")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use aqe_embed::{Download, ModelFolder};
use aqe_sync_core::ErrorKind;
use aqe_sync_workspace::{answers, environment};

/// Serves a folder's files, as far as they are named.
fn mirror(folder: PathBuf) -> String {
    let port = answers::serve(move |stream| {
        let _ = serve(stream, &folder);
    });
    format!("http://127.0.0.1:{port}")
}

fn serve(stream: TcpStream, folder: &Path) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut line = String::new();
        while reader.read_line(&mut line)? > 2 {
            line.clear();
        }
        let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
        let (status, body) = match std::fs::read(folder.join(path)) {
            Ok(body) => ("200 OK", body),
            Err(_) => ("404 Not Found", Vec::new()),
        };
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        reader.get_mut().write_all(head.as_bytes())?;
        reader.get_mut().write_all(&body)?;
    }
}

#[test]
fn the_model_is_fetched_once_and_checked() {
    let Some(model) = environment::folder(environment::MODEL) else {
        assert!(environment::read(environment::REQUIRE_ALL).is_none(), "AQE_TEST_MODEL names no folder");
        eprintln!("skipped: AQE_TEST_MODEL names no folder with the model");
        return;
    };
    let place = tempfile::tempdir().expect("a folder");
    let cache = place.path().join("a/b");
    let told = Mutex::new(Vec::new());
    let download = Download::from(&mirror(model)).expect("an address");
    let found = download.fetch(&cache, |at| told.lock().expect("whole").push(at)).expect("fetched");
    assert_eq!(found, ModelFolder::find(Some(&cache)).expect("it is there"));
    let told = told.into_inner().expect("whole");
    assert!(told.iter().any(|at| at.bytes == at.of && at.of > 1_000_000), "told to the end");
    assert!(told.windows(2).all(|pair| pair[0].file != pair[1].file || pair[0].bytes < pair[1].bytes));
    // What is there is not asked for again.
    let nobody = Download::from("http://127.0.0.1:9").expect("an address");
    nobody.fetch(&cache, |_| panic!("nothing is fetched")).expect("it is there");
}

#[test]
fn another_file_and_a_missing_one_leave_nothing_behind() {
    let place = tempfile::tempdir().expect("a folder");
    let (served, cache) = (place.path().join("served"), place.path().join("cache"));
    std::fs::create_dir(&served).expect("a folder");
    let download = Download::from(&mirror(served.clone())).expect("an address");
    let error = download.fetch(&cache, |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("404") && error.to_string().contains("--model-dir"), "{error}");
    std::fs::write(served.join("tokenizer.json"), "{}").expect("written");
    let error = download.fetch(&cache, |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.to_string().contains("SHA-256"), "{error}");
    assert_eq!(std::fs::read_dir(&cache).expect("a folder").count(), 0);
    let error = Download::from("http://127.0.0.1:9").expect("an address").fetch(&cache, |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
}

#[test]
fn only_encrypted_addresses_are_taken() {
    for address in ["http://mirror.example/model", "ftp://127.0.0.1", "nothing"] {
        assert!(Download::from(address).is_err(), "{address}");
    }
    for address in ["https://mirror.example/model", "http://[::1]:80", "http://localhost"] {
        assert!(Download::from(address).is_ok(), "{address}");
    }
}
