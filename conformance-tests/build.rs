//! Extracts the snippets of `docs/FROM_PYTHON.md`, so that `tests/python/from_python.rs` runs them
//! as they are on the page.
//!
//! Each section with a snippet becomes a file of its name: its Rust code unchanged, and its Python
//! code as an array of texts. A snippet that no test uses is dead code, and so a warning.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::{env, fs};

const PAGE: &str = "../docs/FROM_PYTHON.md";

#[derive(Default)]
struct Section {
    rust: String,
    python: Vec<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PAGE}");
    let to = Path::new(&env::var("OUT_DIR")?).join("from_python");
    let sections = sections(&fs::read_to_string(PAGE)?)?;

    fs::create_dir_all(&to)?;
    for (name, Section { rust, python }) in &sections {
        let python = format!("const PYTHON: [&str; {}] = {python:?};", python.len());
        fs::write(to.join(format!("{name}.rs")), format!("{python}\n{rust}"))?;
    }
    let names: Vec<_> = sections.keys().collect();
    let names = format!("const SECTIONS: [&str; {}] = {names:?};", names.len());
    fs::write(to.join("sections.rs"), names)?;
    Ok(())
}

fn sections(page: &str) -> Result<BTreeMap<String, Section>, Box<dyn Error>> {
    let mut sections = BTreeMap::<_, Section>::new();
    let mut heading = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("## ") {
            heading = title.to_lowercase().replace(' ', "_");
        } else if let Some(language) = line.strip_prefix("```") {
            let block: String = lines
                .by_ref()
                .take_while(|line| *line != "```")
                .flat_map(|line| [line, "\n"])
                .collect();
            match language {
                "python" => sections
                    .entry(heading.clone())
                    .or_default()
                    .python
                    .push(block),
                "rust" => {
                    let rust = &mut sections.entry(heading.clone()).or_default().rust;
                    // Two snippets would be one module, and each has to compile without the other.
                    if !std::mem::replace(rust, block).is_empty() {
                        return Err(format!("two Rust snippets in `{heading}` of {PAGE}").into());
                    }
                }
                "toml" => {}
                other => return Err(format!("what is `{other}` in {PAGE}").into()),
            }
        }
    }
    Ok(sections)
}
