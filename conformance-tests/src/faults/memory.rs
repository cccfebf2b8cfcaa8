//! The memory of a process.

use std::io;

/// Returns the resident memory of a process in bytes; of this process if no number is given.
pub fn resident(process: Option<u32>) -> io::Result<u64> {
    let process = process.map_or_else(|| "self".to_owned(), |id| id.to_string());
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse::<u64>().ok());
    Ok(kibibytes.ok_or_else(|| io::Error::other("no VmRSS"))? << 10)
}
