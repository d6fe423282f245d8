//! The process's own figures, read from the kernel at each scrape.

use std::fs;
use std::io;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use rustix::time::{ClockId, clock_gettime};

/// Resident memory, open files and processor time, under the names that Prometheus' own clients use.
#[derive(Debug)]
pub(crate) struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let cpu = ConstCounter::new(cpu_seconds());
        cpu.encode(encoder.encode_descriptor(
            "process_cpu",
            "Processor time used by all threads",
            Some(&Unit::Seconds),
            cpu.metric_type(),
        )?)?;
        // A figure that the kernel refuses is left out, as Prometheus expects of a value that is not known.
        if let Ok(bytes) = resident_bytes() {
            let resident = ConstGauge::new(bytes);
            resident.encode(encoder.encode_descriptor(
                "process_resident_memory",
                "Memory held in RAM",
                Some(&Unit::Bytes),
                resident.metric_type(),
            )?)?;
        }
        if let Ok(open) = open_fds() {
            let fds = ConstGauge::new(open);
            fds.encode(encoder.encode_descriptor(
                "process_open_fds",
                "Open file descriptors",
                None,
                fds.metric_type(),
            )?)?;
        }
        Ok(())
    }
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn resident_bytes() -> io::Result<u64> {
    vm_rss_bytes(&fs::read_to_string("/proc/self/status")?).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "/proc/self/status has no VmRSS line in kB")
    })
}

fn vm_rss_bytes(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

fn open_fds() -> io::Result<u64> {
    // The listing itself holds one descriptor open.
    Ok(fs::read_dir("/proc/self/fd")?.count().saturating_sub(1) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_the_status_text() {
        #[track_caller]
        fn check(status: &str, expected: Option<u64>) {
            assert_eq!(vm_rss_bytes(status), expected, "{status:?}");
        }
        check("VmSize:\t 9 kB\nVmRSS:\t    2048 kB\n", Some(2048 * 1024));
        check("VmSize:\t 9 kB\n", None);
        check("VmRSS:\t 12\n", None);
        check("VmRSS:\t x kB\n", None);
        check("VmRSS:\t 18446744073709551615 kB\n", None);
    }

    #[test]
    fn this_process_has_figures() {
        assert!(resident_bytes().unwrap() > 1 << 20);
        let before = open_fds().unwrap();
        let _file = fs::File::open("/proc/self/status").unwrap();
        assert!(open_fds().unwrap() > 0 && before > 0);
        assert!(cpu_seconds() > 0.0);
    }
}
