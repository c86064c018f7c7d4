//! Looking at recordings. They are files: whoever may read them needs no daemon.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portcullis_record::{
    Filter, Format as Export, PlayOptions, Recordings, Verdict, Verification, render_list,
};

use crate::cli::{ExportArgs, ExportFormat, PlayArgs, SessionsArgs, SessionsVerb, VerifyArgs};
use crate::config::Config;
use crate::print::{self, Format};

pub(crate) fn run(verb: &SessionsVerb, config: &Path, format: Format) -> Result<()> {
    match verb {
        SessionsVerb::List(args) => {
            let sessions = recordings(args, config)?.list(&Filter::default())?;
            print::data(format, &sessions, |sessions| {
                let mut text = Vec::new();
                // Writing to memory does not fail.
                render_list(sessions, &mut text).ok();
                String::from_utf8_lossy(&text).into_owned()
            })
        }
        SessionsVerb::Show(args) => {
            let recording = recordings(&args.from, config)?.find(&args.id)?;
            to_stdout(|out| match format {
                Format::Json => Ok(recording.render_json(out)?),
                Format::Text => Ok(recording.render_text(out, false)?),
            })
        }
        SessionsVerb::Play(args) => play(args, config),
        SessionsVerb::Export(args) => export(args, config),
        SessionsVerb::Verify(args) => verify(args, config, format),
    }
}

fn play(args: &PlayArgs, config: &Path) -> Result<()> {
    let recording = recordings(&args.session.from, config)?.find(&args.session.id)?;
    let max_idle = Duration::try_from_secs_f64(args.max_idle).context("--max-idle")?;
    let options = PlayOptions { request: args.request, speed: args.speed, max_idle: Some(max_idle) };
    let damage = recording.play(&options, &mut std::io::stdout().lock(), std::thread::sleep)?;
    ensure!(damage.is_empty(), "the recording is damaged in {} places: see `sessions verify`", damage.len());
    Ok(())
}

fn export(args: &ExportArgs, config: &Path) -> Result<()> {
    let recording = recordings(&args.session.from, config)?.find(&args.session.id)?;
    let format = match args.format {
        ExportFormat::Asciicast => Export::Asciicast,
        ExportFormat::Jsonl => Export::Jsonl,
    };
    to_stdout(|out| Ok(recording.export(format, args.request, out)?))
}

fn verify(args: &VerifyArgs, config: &Path, format: Format) -> Result<()> {
    let recordings = recordings(&args.from, config)?;
    let chosen = match &args.id {
        Some(id) => vec![recordings.find(id)?],
        None => recordings.all()?,
    };
    let verified =
        chosen.iter().map(|recording| Ok(recording.verify()?)).collect::<Result<Vec<Verification>>>()?;
    print::data(format, &verified, |verified| {
        verified.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    })?;
    let damaged = verified.iter().filter(|found| found.verdict == Verdict::Damaged).count();
    ensure!(damaged == 0, "{damaged} of {} sessions are damaged", verified.len());
    Ok(())
}

fn recordings(args: &SessionsArgs, config: &Path) -> Result<Recordings> {
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => Config::read(config)?.record.dir,
    };
    Ok(Recordings::new(dir))
}

/// A closed pipe (`| head`) ends the command quietly.
fn to_stdout(write: impl FnOnce(&mut BufWriter<std::io::StdoutLock<'_>>) -> Result<()>) -> Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    match write(&mut out).and_then(|()| Ok(out.flush()?)) {
        Err(error) if is_closed_pipe(&error) => Ok(()),
        other => other,
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}
