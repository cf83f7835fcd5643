/** A text as the picture of a QR code, which authenticator apps read off the screen. */
import { crc32, deflateSync } from 'node:zlib'
import encodeQR from 'qr'

/** Pixels of a module, and modules of white around the code (ISO/IEC 18004 wants four). */
const SCALE = 5
const BORDER = 4

export function qrCodePng(text: string): Buffer {
  const rows = encodeQR(text, 'raw', { ecc: 'medium', border: BORDER, scale: SCALE })
  const header = Buffer.alloc(13)
  header.writeUInt32BE(rows.length, 0)
  header.writeUInt32BE(rows.length, 4)
  // One bit a pixel, shades of grey; all of the rest is PNG's only way.
  header.set([1, 0, 0, 0, 0], 8)
  const pixels = deflateSync(Buffer.concat(rows.map(scanline)))
  return Buffer.concat([SIGNATURE, chunk('IHDR', header), chunk('IDAT', pixels), chunk('IEND', Buffer.alloc(0))])
}

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])

/** A byte that says that the line is not filtered, then its pixels: 1 is white. */
function scanline(row: readonly boolean[]): Buffer {
  const line = Buffer.alloc(1 + Math.ceil(row.length / 8))
  row.forEach((isDark, x) => {
    if (!isDark) line[1 + (x >> 3)]! |= 0x80 >> (x & 7)
  })
  return line
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data])
  const framed = Buffer.alloc(8 + body.length)
  framed.writeUInt32BE(data.length, 0)
  framed.set(body, 4)
  framed.writeUInt32BE(crc32(body), 4 + body.length)
  return framed
}
