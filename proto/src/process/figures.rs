//! What this process costs, for Prometheus, under the names that every client library uses.

use std::fmt;

use procfs::{
    CurrentSI as _, KernelStats, ProcResult, page_size,
    process::{LimitValue, Process, Stat},
    ticks_per_second,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

/// `process_*`: read from the kernel when Prometheus asks. What the kernel does not tell is left out.
#[derive(Debug)]
pub struct Figures;

/// Full name (without `_total`), meaning, now.
type Figure = (&'static str, &'static str, f64);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Ok(process) = Process::myself() else { return Ok(()) };
        let mut groups = vec![descriptors(&process)];
        if let Ok(stat) = process.stat() {
            let cpu = ConstCounter::new(cpu_seconds(&stat));
            let help = "Processor time used, in seconds.";
            cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?)?;
            groups.extend([memory(&process, &stat), start(&stat)]);
        }
        for (name, help, value) in groups.into_iter().flatten().flatten() {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

fn cpu_seconds(stat: &Stat) -> f64 {
    (stat.utime + stat.stime) as f64 / ticks_per_second() as f64
}

fn memory(process: &Process, stat: &Stat) -> ProcResult<Vec<Figure>> {
    let mut figures = vec![
        ("process_resident_memory_bytes", "Resident memory.", (stat.rss * page_size()) as f64),
        ("process_virtual_memory_bytes", "Virtual memory.", stat.vsize as f64),
    ];
    let highest = process.status()?.vmhwm.map(|kibibytes| (kibibytes * 1024) as f64);
    figures
        .extend(highest.map(|bytes| ("process_resident_memory_max_bytes", "Highest resident memory so far.", bytes)));
    Ok(figures)
}

fn descriptors(process: &Process) -> ProcResult<Vec<Figure>> {
    let mut figures = vec![("process_open_fds", "Open file descriptors.", process.fd_count()? as f64)];
    if let LimitValue::Value(most) = process.limits()?.max_open_files.soft_limit {
        figures.push(("process_max_fds", "File descriptors that may be open.", most as f64));
    }
    Ok(figures)
}

fn start(stat: &Stat) -> ProcResult<Vec<Figure>> {
    let boot = KernelStats::current()?.btime as f64;
    let seconds = boot + stat.starttime as f64 / ticks_per_second() as f64;
    Ok(vec![("process_start_time_seconds", "When the process started, in seconds since 1970.", seconds)])
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use procfs::FromRead as _;
    use prometheus_client::{encoding::text, registry::Registry};
    use tokio::time::Instant;

    use super::*;

    fn scrape() -> String {
        let (mut registry, mut text) = (Registry::default(), String::new());
        registry.register_collector(Box::new(Figures));
        text::encode(&mut text, &registry).unwrap();
        text
    }

    fn figure(name: &str) -> f64 {
        let text = scrape();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }

    /// As `/proc/<pid>/stat` has it (proc(5)): field 14 is utime, 15 stime, 22 starttime, 23 vsize, 24 rss.
    const STAT: &str = "7 (a b) S 1 7 7 0 -1 4194560 1 2 3 4 250 150 0 0 20 0 1 0 900 123456789 1000 18446744073709551615 \
                        1 1 0 0 0 0 0 4096 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n";

    #[test]
    fn figures_have_the_units_of_their_names() {
        let stat = Stat::from_read(STAT.as_bytes()).unwrap();
        let ticks = ticks_per_second() as f64;
        assert_eq!(cpu_seconds(&stat), 400.0 / ticks, "both in user and in kernel mode");
        let value = |figures: ProcResult<Vec<Figure>>, name: &str| {
            figures.unwrap().into_iter().find(|figure| figure.0 == name).unwrap().2
        };
        let memory = |name| value(super::memory(&Process::myself().unwrap(), &stat), name);
        assert_eq!(memory("process_resident_memory_bytes"), 1000.0 * page_size() as f64);
        assert_eq!(memory("process_virtual_memory_bytes"), 123_456_789.0);
        let boot = KernelStats::current().unwrap().btime as f64;
        assert_eq!(value(start(&stat), "process_start_time_seconds"), boot + 900.0 / ticks);
    }

    #[test]
    fn the_limit_of_descriptors_is_the_one_that_holds() {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        let soft: f64 = line.split_whitespace().next().unwrap().parse().unwrap();
        assert_eq!(figure("process_max_fds"), soft);
    }

    #[test]
    fn figures_are_of_this_process_and_of_now() {
        let before = figure("process_cpu_seconds_total");
        let busy = Instant::now();
        while busy.elapsed() < Duration::from_millis(200) {}
        let used = figure("process_cpu_seconds_total") - before;
        assert!((0.02..100.0).contains(&used), "200 ms of work cost {used} s");

        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - figure("process_start_time_seconds");
        assert!((-2.0..3600.0).contains(&age), "a test of {age} s");

        let resident = figure("process_resident_memory_bytes");
        assert!(resident > 1e6 && resident < figure("process_virtual_memory_bytes"), "{resident}");
        assert!(figure("process_resident_memory_max_bytes") > 1e6);

        let open = figure("process_open_fds");
        let files: Vec<_> = (0..50).map(|_| std::fs::File::open("/proc/self/stat").unwrap()).collect();
        let more = figure("process_open_fds");
        assert!(more >= open + 40.0, "{open} and {} more are {more}", files.len());
        assert!(figure("process_max_fds") >= more);
    }
}
