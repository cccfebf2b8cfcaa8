//! The arguments of a bench.

use std::path::PathBuf;
use std::process::ExitCode;

/// What `cargo bench -p pymq-benches -- --help` prints.
pub(crate) const HELP: &str = "\
usage: cargo bench -p pymq-benches -- [OPTIONS]

  --only TEXT   run the groups with this text in the title
  --check       exit with 1 when a median is out of its target by more than the noise
                (below target x 0.85, or above target / 0.85)
  --quick       few rounds and operations: does everything run?
  --json FILE   add the results to this file; groups that it has are replaced
  --list        print the titles of the groups
  --growth      measure instead what grows with the number of topics, items, calls and bytes, and
                draw it into docs/ (with --quick: into a temporary folder)
  --report FILE write the tables and the chart of README.md and docs/ from such a file

The bench `codec` has no goals. It runs without --check, --json, --list, --growth and --report.
";

/// How a bench runs.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub struct Options {
    /// Selects the groups with this text in the title.
    pub only: Option<String>,
    /// Fails when a goal is missed.
    pub check: bool,
    /// Few rounds and operations.
    pub quick: bool,
    /// Where the results go.
    pub json: Option<PathBuf>,
    /// Only prints the titles.
    pub list: bool,
    /// Measures the growth instead.
    pub growth: bool,
    /// Only writes the documents from this file.
    pub report: Option<PathBuf>,
}

impl Options {
    /// Reads the arguments of the process. Cargo itself adds `--bench`.
    ///
    /// # Errors
    ///
    /// How to exit, if an argument is not known or the help was asked for. It was printed.
    pub fn from_args() -> Result<Self, ExitCode> {
        Self::parse(std::env::args().skip(1)).map_err(|text| {
            eprintln!("{text}");
            ExitCode::from(2)
        })
    }

    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--bench" => {}
                "--only" => options.only = Some(value()?),
                "--check" => options.check = true,
                "--quick" => options.quick = true,
                "--json" => options.json = Some(value()?.into()),
                "--list" => options.list = true,
                "--growth" => options.growth = true,
                "--report" => options.report = Some(value()?.into()),
                "--help" => return Err(HELP.to_owned()),
                _ => return Err(format!("unknown argument {arg}\n\n{HELP}")),
            }
        }
        Ok(options)
    }

    /// Tells whether a group of this title is selected.
    pub fn selects(&self, title: &str) -> bool {
        self.only.as_deref().is_none_or(|text| title.contains(text))
    }

    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 2 } else { 7 }
    }

    /// How many operations a case does, as a multiple of the tasks that share them.
    pub(crate) fn operations(&self, usual: usize) -> usize {
        let operations = if self.quick { usual / 8 } else { usual };
        operations.next_multiple_of(256)
    }
}

#[cfg(test)]
mod tests {
    use super::Options;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn arguments_are_read_and_unknown_ones_are_refused() {
        let options = parse("--bench --check --only call --json out.json").unwrap();
        assert!(options.check && !options.quick);
        assert!(options.selects("call, 64 in flight") && !options.selects("publish"));
        assert_eq!(options.json.unwrap().to_str(), Some("out.json"));
        assert!(parse("--chek").unwrap_err().contains("--chek"));
        assert!(parse("--only").unwrap_err().contains("needs a value"));
    }
}
