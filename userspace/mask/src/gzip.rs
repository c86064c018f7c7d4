//! Masking inside gzip (RFC 1952): opened, masked and packed again in small pieces, so that a body that expands
//! a thousandfold needs no more memory than any other.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::{GzEncoder, MultiGzDecoder};

use crate::MaskError;
use crate::body::Masker;

/// Masks what is in a gzip body (one member or several; nothing else may follow).
pub(crate) struct GzipMasker {
    decoder: MultiGzDecoder<Repacker>,
    read: u64,
    /// The body ended, or it was not what it should be.
    over: bool,
}

impl GzipMasker {
    pub(crate) fn new(masker: Box<dyn Masker>) -> Self {
        // The level the API server itself packs at.
        let packer = GzEncoder::new(Vec::new(), Compression::fast());
        let repacker = Repacker { masker, masked: Vec::new(), packer, flushed: true };
        Self { decoder: MultiGzDecoder::new(repacker), read: 0, over: false }
    }

    fn guarded(
        &mut self,
        step: impl FnOnce(&mut MultiGzDecoder<Repacker>) -> io::Result<()>,
    ) -> Result<(), MaskError> {
        if self.over {
            return Err(MaskError::Over);
        }
        step(&mut self.decoder).map_err(|error| {
            self.over = true;
            // What the repacker said itself comes through the decoder wrapped.
            error
                .downcast::<MaskError>()
                .unwrap_or_else(|source| MaskError::Gzip { offset: self.read, source })
        })
    }
}

impl Masker for GzipMasker {
    fn push(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), MaskError> {
        self.guarded(|decoder| {
            decoder.write_all(body)?;
            decoder.flush()
        })?;
        self.read += body.len() as u64;
        out.append(self.decoder.get_mut().packer.get_mut());
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), MaskError> {
        self.guarded(|decoder| {
            decoder.try_finish()?;
            decoder.get_mut().finish()
        })?;
        self.over = true;
        out.append(self.decoder.get_mut().packer.get_mut());
        Ok(())
    }

    fn held(&self) -> usize {
        self.decoder.get_ref().masker.held()
    }

    fn holds(&self) -> bool {
        !self.over && self.decoder.get_ref().masker.holds()
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), MaskError> {
        self.guarded(|decoder| {
            decoder.get_mut().give_held()?;
            decoder.flush()
        })?;
        out.append(self.decoder.get_mut().packer.get_mut());
        Ok(())
    }
}

/// Takes what was packed, keeps it masked and packed again.
struct Repacker {
    masker: Box<dyn Masker>,
    masked: Vec<u8>,
    packer: GzEncoder<Vec<u8>>,
    /// Nothing was packed that is not to be read yet.
    flushed: bool,
}

impl Repacker {
    fn finish(&mut self) -> io::Result<()> {
        self.masker.finish(&mut self.masked).map_err(io::Error::other)?;
        self.pack()?;
        self.packer.try_finish()
    }

    fn give_held(&mut self) -> io::Result<()> {
        self.masker.flush(&mut self.masked).map_err(io::Error::other)?;
        self.pack()
    }

    fn pack(&mut self) -> io::Result<()> {
        self.flushed &= self.masked.is_empty();
        self.packer.write_all(&self.masked)?;
        self.masked.clear();
        Ok(())
    }
}

impl Write for Repacker {
    fn write(&mut self, body: &[u8]) -> io::Result<usize> {
        self.masker.push(body, &mut self.masked).map_err(io::Error::other)?;
        self.pack()?;
        Ok(body.len())
    }

    /// Makes all that was packed readable for the client.
    fn flush(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.flushed, true) { Ok(()) } else { self.packer.flush() }
    }
}
