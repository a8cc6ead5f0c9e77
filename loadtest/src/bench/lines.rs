//! Reads a file line by line at the least cost: one buffer, whole lines handed out where they stand.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// How much is read at once, in bytes.
const READ_BYTES: usize = 1 << 20;

/// Calls `each` with every line that is not empty, without its end.
///
/// # Errors
/// The file cannot be read.
pub(super) fn each_line(path: &Path, each: impl FnMut(&[u8])) -> io::Result<()> {
    lines(File::open(path)?, READ_BYTES, each)
}

fn lines(mut from: impl Read, read_bytes: usize, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; read_bytes * 2];
    let mut filled = 0;
    loop {
        if buffer.len() - filled < read_bytes {
            buffer.resize(buffer.len() * 2, 0);
        }
        let bytes = from.read(&mut buffer[filled..])?;
        if bytes == 0 {
            break;
        }
        filled += bytes;
        let mut begin = 0;
        while let Some(length) = memchr::memchr(b'\n', &buffer[begin..filled]) {
            if length > 0 {
                each(&buffer[begin..begin + length]);
            }
            begin += length + 1;
        }
        buffer.copy_within(begin..filled, 0);
        filled -= begin;
    }
    if filled > 0 {
        each(&buffer[..filled]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_comes_once_and_whole() {
        let text = "first\n\nsecond, which is much longer than the buffer\nthird\nlast without an end";
        for read_bytes in [1, 3, 7, 4096] {
            let mut seen = Vec::new();
            lines(text.as_bytes(), read_bytes, |line| seen.push(String::from_utf8_lossy(line).into_owned())).unwrap();
            let expected: Vec<_> = text.split('\n').filter(|line| !line.is_empty()).collect();
            assert_eq!(seen, expected, "{read_bytes}");
        }
    }
}
