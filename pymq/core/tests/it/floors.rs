//! The modules of this crate stand on floors, and none imports a module of its own floor or above.
//!
//! So there is no cycle of imports, and a reader can start at the lowest floor.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The floors, the lowest first. Modules of one floor do not import each other.
const FLOORS: &[&[&str]] = &[
    // Vocabulary, no I/O.
    &["event", "glob", "message", "text", "time"],
    &["error", "isolation", "retry"],
    &["codec", "name", "state"],
    &["handler", "remote_error"],
    // The seam.
    &["provider"],
    // What all handles share, and how a URL becomes a provider.
    &["client", "connect"],
    // The three ideas, side by side.
    &["queue", "rpc", "topic"],
    // The facade.
    &["bus"],
];

/// Permitted imports of the same floor or a higher one: the module, and the module that it imports.
/// The test also fails if one no longer exists, so that this list only shrinks.
const EXCEPTIONS: &[(&str, &str)] = &[
    // An `Error` may hold a `RemoteError`, and a `RemoteError` decodes its value.
    ("error", "remote_error"),
];

#[test]
fn no_module_imports_one_of_its_floor_or_above() {
    let floors: BTreeMap<&str, usize> = (0..)
        .zip(FLOORS)
        .flat_map(|(floor, modules)| modules.iter().map(move |&module| (module, floor)))
        .collect();
    let mut wrong = BTreeSet::new();
    let mut excepted = BTreeSet::new();
    let mut seen = BTreeSet::new();

    for (module, file) in files() {
        let Some(floor) = floors.get(module.as_str()) else {
            wrong.insert(format!("{module}: on no floor; add it to FLOORS"));
            continue;
        };
        let text = fs::read_to_string(&file).expect("a source file is readable");
        for import in imports(&text) {
            let above = match floors.get(import.as_str()) {
                Some(other) => other >= floor,
                None => true,
            };
            if import == module || !above {
            } else if EXCEPTIONS.contains(&(&module, &import)) {
                excepted.insert((module.clone(), import));
            } else if floors.contains_key(import.as_str()) {
                wrong.insert(format!("{module} imports {import}: see {}", file.display()));
            } else {
                wrong.insert(format!(
                    "{module} imports crate::{import}, which is no module of FLOORS: see {}",
                    file.display()
                ));
            }
        }
        seen.insert(module);
    }
    for (module, import) in EXCEPTIONS {
        if !excepted.contains(&((*module).to_owned(), (*import).to_owned())) {
            wrong.insert(format!(
                "{module} does not import {import}: no exception any more"
            ));
        }
    }
    for module in floors.keys().filter(|&&module| !seen.contains(module)) {
        wrong.insert(format!(
            "{module}: there is no such module; take it out of FLOORS"
        ));
    }

    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Every source file but `lib.rs`, with the module at the root of the crate that it belongs to.
fn files() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a source folder is readable") {
            let path = entry.expect("a source folder is readable").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let inside = path
                .strip_prefix(&root)
                .expect("it is in the root")
                .with_extension("");
            let module = inside.iter().next().expect("a file has a name");
            if module != "lib" {
                files.push((module.to_string_lossy().into_owned(), path));
            }
        }
    }
    assert!(!files.is_empty(), "no source files in {}", root.display());
    files
}

/// The names after `crate::`, outside of comments and of the unit tests at the end of a file.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text.split("\nmod tests").next().unwrap_or(text);
    let mut names = BTreeSet::new();
    for line in code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
    {
        for (at, found) in line.match_indices("crate::") {
            // `$crate::` is a path in the crate of a macro's caller, `in crate::` a visibility.
            if line[..at].ends_with('$') || line[..at].ends_with("in ") {
                continue;
            }
            let after = &line[at + found.len()..];
            let end = after.find(|c: char| !c.is_alphanumeric() && c != '_');
            names.insert(after[..end.unwrap_or(after.len())].to_owned());
        }
    }
    names
}

#[test]
fn an_import_is_found_in_each_form() {
    let text = "\
use crate::bus::Bus;
pub(in crate::topic) fn f() -> crate::error::Result {
    // crate::comment
    $crate::mine::g()
}
#[cfg(test)]
mod tests {
    use crate::rpc::Stub;
}
";

    assert_eq!(
        imports(text),
        BTreeSet::from(["bus".to_owned(), "error".to_owned()])
    );
}
